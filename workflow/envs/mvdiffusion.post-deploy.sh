#!/usr/bin/env bash
# Snakemake runs this in the folder of the checkout, with the new environment active. Rules run the
# checkout's own code, and entry points are read from an installation.
set -euo pipefail
python -m pip install --no-deps --editable .
