"""Tiny random pipelines of the three tasks and a few rooms of noise."""

from tiny_pipelines import (  # noqa: F401
    dataset,
    depth,
    make,
    model,
    models,
    one_thread,
    outpaint,
    parts,
    pipeline,
    walks,
)
