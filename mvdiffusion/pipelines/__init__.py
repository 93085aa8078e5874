"""Samplers in the form of diffusers pipelines."""
