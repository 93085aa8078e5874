# `make look`, `make run` and `make test` need Python >= 3.11, git and make, and set up everything else in .venv.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help look run smoke test lint docs reference

help:  ## these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

look: $(READY)  ## a first look: a panorama after a short training
	snakemake --cores all --quiet host reason rules --configfile workflow/config/look.yaml \
		-- results/look/models/panorama_stage2/model_index.json
	mvdiffusion generate panorama --model results/look/models/panorama_stage2 \
		--prompts workflow/config/bedroom.txt \
		--prompt-prefix "This is one view of a scene. " --steps 20 --guidance-scale 2 \
		--scheduler DPMSolverMultistepScheduler --algorithm-type sde-dpmsolver++ \
		--output results/look/panorama --overwrite
	@echo "Done. Open results/look/panorama/viewer.html in a browser; contact_sheet.png beside it shows the views."

run: $(READY)  ## the experiment in miniature: data, training, generation, evaluation, report
	snakemake --cores all --quiet host reason rules -- run
	python -m workflow.scripts.record_run
	@echo "Done. Open results/report.html; the tables are in results/tables."

smoke: $(READY)  ## the same steps with a few samples, to see that all parts fit
	snakemake --cores all --quiet host reason rules -- smoke

test: $(READY)  ## the fast tests (docs/develop.md names the others)
	pytest -n auto --dist worksteal

lint: $(READY)  ## formats, types, import directions, workflow
	ruff check
	ruff format --check
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint --configfile workflow/config/paper.yaml  # which includes all files of rules

docs: $(READY)  ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true mkdocs build --strict

reference: $(READY)  ## copy the results of a complete run of mini to results/reference/mini
	python -m workflow.scripts.publish_reference

# Installed again when what is to be installed changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python >= 3.11 is needed; '$(PYTHON)' is not. Name another: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@
