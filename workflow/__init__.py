"""The experiments as a Snakemake workflow."""
