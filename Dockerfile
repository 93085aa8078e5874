# Everything that the experiments need, at the versions of constraints.txt; the checkout is inside:
#   docker build --tag mvdiffusion .
#   docker run --rm --volume "$PWD/results:/mvdiffusion/results" mvdiffusion --cores all run
# With GPUs: `docker run --gpus all ...`. For the jobs of a cluster, see docs/cluster.md.
# Tests check its structure, but nobody has built it yet.
FROM python:3.11-slim-bookworm

# git names the commit of results; the libraries are those of OpenCV.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mvdiffusion

# First what is large and changes least, so that a change of the code does not install it again.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch torchvision

COPY . .
RUN git config --global --add safe.directory /mvdiffusion \
    && pip install --no-cache-dir --constraint constraints.txt --editable '.[workflow,offline]'

ENTRYPOINT ["snakemake"]
CMD ["--cores", "all", "run"]
