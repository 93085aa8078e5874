"""The whole way of an external method in words: what would be run, and what is known of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from mvdiffusion.external.generate import run_values
from mvdiffusion.external.steps import Place, Step, inside, installation_steps
from mvdiffusion.methods.specification import (
    SAMPLE_FIELDS,
    Generation,
    Specification,
    specification_file,
)


def plan_lines(specification: Specification, root: Path, name: str) -> list[str]:
    """Describe all steps of a method; nothing is run.

    Commands can be copied; DATA, RAW, SAMPLES and REAL in them stand for folders of the user's.

    Args:
        specification: the method.
        root: folder of all installations.
        name: how the user calls it: its name, or its file.
    """
    place = Place((root / specification.name).resolve())
    ours, method = "mvdiffusion external", shlex.quote(name)
    at = f"--root {shlex.quote(str(root))}"
    lines = [
        f"{specification.title}: {specification.paper}",
        f"  code: {specification.repository.url} at {specification.repository.commit}",
        f"  license: {specification.repository.license}",
        f"  checked: {specification.checked}",
        f"  file: {specification_file(name)}",
        "in the commands, DATA is the data's folder, REAL that of its real views; RAW and SAMPLES "
        "are made",
        f"install: {ours} install {method} {at}",
    ]
    for number, step in enumerate(installation_steps(specification, place), 1):
        lines += [f"  {number}. {step.title}", *(f"     {line}" for line in _step_lines(step))]
    for task, generation in specification.tasks.items():
        raw, samples = f"RAW/{task}", f"SAMPLES/{task}"
        words = f"--task {task} --data DATA --output {raw} {at}"
        lines += [f"run: {ours} run {method} {words}"]
        lines += _task_lines(specification, generation, place, Path(raw).resolve())
        words = f"{raw} --task {task} --output {samples}"
        lines += [f"import: {ours} import {method} {words}"]
        lines += [f"check: {ours} check {method} {samples} --reference REAL/{task} {at}"]
        lines += [f"  {result}" for result in _result_lines(specification, task)]
    return [*lines, *(f"note: {note}" for note in specification.notes)]


def _step_lines(step: Step) -> Iterator[str]:
    """A step's command, what `install` does with what it fetches, and what is not known of it."""
    lines, where = [step.words], step.part or step.makes or Path()
    for name, sha256 in step.sha256.items():
        file = where if where.name.removesuffix(".part") == name else where / name
        lines.append(f"echo {shlex.quote(f'{sha256}  {file}')} | sha256sum --check")
    if step.part:
        lines.append(shlex.join(["mv", "--no-target-directory", str(step.part), str(step.makes)]))
    yield from " &&\n".join(lines).splitlines()
    if step.makes and not step.sha256:
        yield "warning: no hash is on record; what is found is written to installed.json"
    if step.warning:
        yield f"warning: {step.warning}"


def _task_lines(
    specification: Specification, generation: Generation, place: Place, raw: Path
) -> Iterator[str]:
    each = "for each sample" if generation.per_sample else "once, for all samples"
    values = run_values(raw, place, Path("DATA"))
    values |= {field: f"<{field}>" for field in SAMPLE_FIELDS}
    words = [word.format(**values) for word in generation.command]
    command = inside(specification.environment, place, words, (raw, Path("DATA").resolve()))
    yield f"  {each}: cd {shlex.quote(str(place.source))} && {shlex.join(command)}"
    if generation.script:
        yield "  the script:"
        yield from (f"    {line}".rstrip() for line in generation.script.splitlines())
    layout = generation.output
    yield f"  it writes {layout.files} ({layout.layout}, its front at {layout.yaw_deg:g}°)"
    for direction, face in (layout.faces or {}).items():
        mirrored = ", mirrored" if face.mirrored else ""
        yield f"    {direction}: {face.name}, {face.turn} quarter turns from upright{mirrored}"


def _result_lines(specification: Specification, task: str) -> Iterator[str]:
    results = [result for result in specification.results if result.task == task]
    for result in results:
        tolerance = f" ± {result.tolerance:g}" if result.tolerance else ""
        protocol = result.protocol or "no protocol of the suite"
        yield f"{result.metric}: {result.value:g}{tolerance}, {result.source} [{protocol}]"
    if not results:
        yield "no number of this task on this data is on record"
