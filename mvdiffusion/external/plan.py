"""The whole way of an external method in words: what would be run, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mvdiffusion.external.generate import run_values
from mvdiffusion.external.steps import Place, inside, installation_steps
from mvdiffusion.methods.specification import SAMPLE_FIELDS, Generation, Specification


def plan_lines(specification: Specification, root: Path) -> list[str]:
    """Describe all steps of a method; nothing is run.

    Args:
        specification: the method.
        root: folder of all installations.
    """
    place = Place((root / specification.name).resolve())
    lines = [
        f"{specification.title}: {specification.paper}",
        f"  code: {specification.repository.url} at {specification.repository.commit}",
        f"  license: {specification.repository.license}",
        f"  checked: {specification.checked}",
        f"install (mvdiffusion external install {specification.name} --root {root})",
    ]
    for number, step in enumerate(installation_steps(specification, place), 1):
        known = f"  [SHA-256 {step.sha256}]" if step.sha256 else ""
        unknown = "  [no hash on record]" if step.makes and not step.sha256 else ""
        lines += [f"  {number}. {step.title}{known}{unknown}", f"     {step.words}"]
    for task, generation in specification.tasks.items():
        lines += _task_lines(specification, task.value, generation, place)
    lines += [f"check (mvdiffusion external check {specification.name} SAMPLES --reference REAL)"]
    lines += [f"  {result}" for result in _result_lines(specification)]
    return [*lines, *(f"note: {note}" for note in specification.notes)]


def _task_lines(
    specification: Specification, task: str, generation: Generation, place: Place
) -> Iterator[str]:
    name, output = specification.name, Path("OUTPUT")
    yield f"run (mvdiffusion external run {name} --task {task} --data DATA --output OUTPUT)"
    each = "for each sample" if generation.per_sample else "once, for all samples"
    values = run_values(output, place, Path("DATA")) | {"data": "DATA"}
    values |= {field: f"<{field}>" for field in SAMPLE_FIELDS}
    words = [word.format(**values) for word in generation.command]
    command = inside(specification.environment, place, words, (output, Path("DATA")))
    yield f"  {each}: cd {place.source} && {' '.join(command)}"
    if generation.script:
        yield "  the script:"
        yield from (f"    {line}".rstrip() for line in generation.script.splitlines())
    layout = generation.output
    yield f"  it writes {layout.files} ({layout.layout}, its front at {layout.yaw_deg:g}°)"
    for direction, face in (layout.faces or {}).items():
        mirrored = ", mirrored" if face.mirrored else ""
        yield f"    {direction}: {face.name}, {face.turn} quarter turns from upright{mirrored}"
    yield f"import (mvdiffusion external import {name} OUTPUT --task {task} --output SAMPLES)"


def _result_lines(specification: Specification) -> Iterator[str]:
    for result in specification.results:
        tolerance = f" ± {result.tolerance:g}" if result.tolerance else ""
        protocol = result.protocol or "no protocol of the suite"
        about = f"{result.metric} ({result.task}): {result.value:g}{tolerance}"
        yield f"{about}, {result.source} [{protocol}]"
    if not specification.results:
        yield "its paper has no number of this task on this data"
