"""Which methods there are: by the entry points of this package and others, by specifications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pydantic.dataclasses import is_pydantic_dataclass

from mvdiffusion.methods.declaration import MODELS, Method
from mvdiffusion.methods.specification import external_methods
from mvdiffusion.records import InputError
from mvdiffusion.settings import suggest

GROUP = "mvdiffusion.methods"  # of entry points, and the package of our own methods
INSTALL = "`pip install -e .` again"  # entry points are those of the last installation


def method_names(task: str | None = None) -> tuple[str, ...]:
    """List the methods, or those of a task, in the order in which tables show them.

    Without a task nothing is imported, as an entry point has its method's name: then ours come
    first, and each package's are in order of the alphabet.
    """
    if task is None:
        return tuple(entry.name for entry in _entries())
    return tuple(name for name, method in methods().items() if task in method.tasks)


def find_method(name: str, task: str) -> Method:
    """Find a method that can do a task.

    Raises:
        InputError: there is none of this name, or it cannot.
    """
    if name not in method_names(task):
        raise InputError(f"--method {name}: expected {expected(name, task)}.")
    return methods()[name]


def expected(name: str, task: str) -> str:
    """Say what could stand in the place of a name that is no method of a task.

    Args:
        name: the name.
        task: the task.
    """
    file = _file_of(name) if name not in method_names() else None
    if file:
        return (
            f"an installation that knows the method of {file}: this one is older than its source, "
            f"so run {INSTALL}"
        )
    known = suggest(name, method_names(task)).removesuffix(".")
    return f"a method of the task {task}{known}"


@cache
def methods() -> Mapping[str, Method]:
    """Know every method by name, in the order in which tables show them.

    Raises:
        InputError: what a package registers is no method, has another name than its entry point,
            the name of another method, a model that nobody makes, or a training whose model nobody
            runs.
    """
    found: dict[str, Method] = {}
    for entry in _entries():
        if entry.name in found:
            raise InputError(f"{_where(entry)}: there is another of this name; uninstall one.")
        found[entry.name] = _load(entry)
    trainings = {name: own.training for name, own in found.items() if own.training}
    used = {model for own in found.values() for model in own.models}
    used |= {training.start for training in trainings.values()}
    for entry in _entries():
        method = found[entry.name]
        if method.training and method.name not in used:
            raise InputError(
                f"{_where(entry)}: has a training whose model no method runs; expected "
                f"model='{method.name}' in its declaration."
            )
        start = [method.training.start] if method.training else []
        for model in (*method.models, *start):
            if model not in MODELS and model not in trainings:
                raise InputError(
                    f"{_where(entry)}: needs the model '{model}'; expected {', '.join(MODELS)} or "
                    "the name of a method with a training."
                )
        own = {model: trainings[model].pipeline for model in method.models if model in trainings}
        found[entry.name] = replace(method, loaders=own)
    found |= external_methods()
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def _entries() -> list[EntryPoint]:
    """Entry points of all methods, ours first."""
    return sorted(entry_points(group=GROUP), key=lambda entry: (not _is_ours(entry), entry.name))


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.startswith(f"{GROUP}.")


def _file_of(name: str) -> Path | None:
    """Find the file of this package that declares a method, whether it is registered or not."""
    declared = re.compile(rf'(?<!Training)\(\s*"{re.escape(name)}"')
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "declaration import Method" in text and declared.search(text):
            return file
    return None


def _load(entry: EntryPoint) -> Method:
    try:
        method = entry.load()
    except Exception as error:  # whatever somebody else's code raises
        way_out = f"run {INSTALL}" if _is_ours(entry) else "fix or uninstall the package"
        raise InputError(
            f"{_where(entry)} could not be loaded: {type(error).__name__}: {error}; {way_out}."
        ) from error
    if not isinstance(method, Method) or method.name != entry.name:
        raise InputError(f"{_where(entry)}: expected a mvdiffusion.methods.Method of this name.")
    if method.options is not None:
        _check_options(method, method.options, entry)
    return replace(method, module=entry.module)


def _check_options(method: Method, options: type, entry: EntryPoint) -> None:
    if not is_pydantic_dataclass(options):
        wanted = "a class under `mvdiffusion.settings.settings`"
        raise InputError(f"{_where(entry)}: has options {options!r}; expected {wanted}.")
    try:
        method.read_options({})
    except InputError as error:
        raise InputError(f"{_where(entry)}: {error} Every option needs a default.") from None


def _where(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "unknown"
    return f"method '{entry.name}' of the package '{package}' ({entry.value})"
