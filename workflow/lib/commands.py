"""Words of the command lines that rules run, and of Snakemake's report about their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mvdiffusion.tasks import Task


def repeated(option: str, values: Iterable[str]) -> list[str]:
    """Give an option once for each value."""
    return [word for value in values for word in (option, str(value))]


def folders_of(files: Iterable[str]) -> list[str]:
    """Folders that files lie in."""
    return [str(Path(file).parent) for file in files]


def named(names: Sequence[str], values: Iterable[str]) -> list[str]:
    """NAME=VALUE arguments; a manifest stands for its folder."""
    folders = [Path(v).parent if Path(v).name == "manifest.json" else v for v in values]
    return [f"{name}={value}" for name, value in zip(names, folders, strict=True)]


def shown(category: str, file: str) -> dict[str, Any]:
    """What Snakemake's report says of an output: arguments of `report`.

    Args:
        category: "Tables", "Figures" or "Pages".
        file: the output's name, `<name>.<format>`, in which a task may stand.

    >>> shown("Tables", "panorama_main.csv")["labels"]
    {'table': 'main', 'format': 'csv'}
    """
    kind, path = category.lower().removesuffix("s"), Path(file)
    words = path.stem.split("_")
    task = next((each.value for each in Task if each in words), None)
    return {
        "category": category,
        "subcategory": task or "all tasks",
        "caption": f"../report/{kind}.rst",
        "labels": {
            kind: " ".join(w for w in words if w != task),
            "format": path.suffix.removeprefix("."),
        },
    }


def train(words: str, step: str, results: str, base: bool = True) -> str:
    """Command of a rule that trains a model; it goes on where a killed job was.

    Checkpoints and logs are no outputs of the rule, since Snakemake deletes outputs before a job.

    Args:
        words: subcommand and options, in which wildcards of the rule may stand, as in `step`; or a
            parameter of the rule that has all of them and the settings.
        step: name of the model's folder.
        results: folder of the experiment's results.
        base: whether the rule's input `base` is a file of the model to start from.
    """
    work = f"{results}/training/{step}"
    start = " --base $(dirname {input.base})" if base else ""
    told = words if "{params." in words else f"{words} --settings {{params.settings:q}}"
    return (
        f"python -m mvdiffusion.cli train {told}{start}"
        " --data $(dirname {input.data}) --validation $(dirname {input.validation})"
        f" --output $(dirname {{output.model}}) --checkpoints {work}/checkpoints"
        f" --log-dir {work}/log --overwrite 2>&1 | tee {{log}}"
        f" && cp {work}/log/metrics.jsonl {{output.curve}}"
    )


def external(results: str) -> str:
    """Command of a rule that runs a method of others; it goes on where a killed job was.

    What the method writes is no output of the rule, since Snakemake deletes outputs before a job.

    Args:
        results: folder of the experiment's results.
    """
    command, name = "python -m mvdiffusion.cli external", "{wildcards.external}"
    raw = f"{results}/external/{{wildcards.task}}/{name}"
    return (
        f"({command} install {name} --overwrite && python -m mvdiffusion.parallel"
        f" {command} run {name} --task {{wildcards.task}}"
        " --data $(dirname {input.data}) --split test --settings {input.settings}"
        f" --settings-sha256 {{params.sha256}} --output {raw} --overwrite"
        f" && {command} import {name} {raw} --task {{wildcards.task}}"
        " --output $(dirname {output}) --overwrite) 2>&1 | tee {log}"
    )
