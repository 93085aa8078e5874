"""Which files of the project a module's result depends on, and one hash of their code.

Identities of trainings and the digests of the workflow's steps are made of it, so a result is out
of date exactly when code that made it has changed: comments, docstrings and formatting do not
count, nor do modules that nothing imports, nor what a method's `METHOD` says of it: the workflow
takes of that what decides a step.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mvdiffusion.records import InputError, settings_sha256, sha256_file

if TYPE_CHECKING:
    import grimp

PACKAGES = ("mvdiffusion", "mvdiffusion_eval")
DECLARED_BY = "mvdiffusion.methods.declaration"


@cache
def import_closure(module: str) -> frozenset[Path]:
    """Return the files of a module, of all its imports inside the project, and their data files.

    Imports inside functions count, and so do the `__init__` files of all parent packages. A data
    file is one that lies beside or below a module and is named in the module's text.

    Raises:
        InputError: the project has no such module.
    """
    graph, found, queue = _import_graph(), set[str](), [module]
    if module not in graph.modules:
        raise InputError(
            f"'{module}' is not a module of {' or '.join(PACKAGES)}; correct the name where a step"
            " of the workflow or a training command lists the code that it runs"
        )
    while queue:
        name = queue.pop()
        if name and name not in found:
            found.add(name)
            imported = graph.find_modules_directly_imported_by(name) - {DECLARED_BY}
            queue += [name.rpartition(".")[0], *imported]
    files = {_module_file(name) for name in found}
    return frozenset(files | {data for file in files for data in _data_files(file)})


@cache
def code_sha256(*code: str) -> str:
    """Hash code, wherever the project is installed.

    Args:
        code: modules, with their import closures; or `module:function`, a command without what it
            imports and without what it says of its options.
    """
    modules = [name for name in code if ":" not in name]
    files = {file for module in modules for file in import_closure(module)}
    named = {_name_in_project(file): _code_of(file) for file in files}
    return settings_sha256(named | {name: _code_of_command(name) for name in code if ":" in name})


@cache
def _code_of_command(place: str) -> str:
    """Return what a function computes, with the functions and constants of its module it uses."""
    module, _, name = place.partition(":")
    defined: dict[str, ast.AST] = {}
    for top in ast.parse(_module_file(module).read_bytes()).body:
        if isinstance(top, ast.FunctionDef):
            defined[top.name] = top
        elif isinstance(top, ast.Assign) and isinstance(top.targets[0], ast.Name):
            defined[top.targets[0].id] = top.value
    if name not in defined:
        raise InputError(f"'{name}' is no function of {module}; correct it where a step names it")
    found, queue = dict[str, object](), [name]
    while queue:
        name = queue.pop()
        if name in found or name not in defined:
            continue
        node: ast.AST = defined[name]
        parts = [node]
        if isinstance(node, ast.FunctionDef):
            parts = [*node.body, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        found[name] = _syntax(parts)
        inner = (each for part in parts for each in ast.walk(part))
        queue += [each.id for each in inner if isinstance(each, ast.Name)]
    return repr(sorted(found.items()))


@cache
def _import_graph() -> grimp.ImportGraph:
    import grimp  # of an extra: scoring and generating alone hash no code

    # About 50 ms, so nothing is kept between processes. Imports for type checkers are never run.
    return grimp.build_graph(
        *_package_folders(), exclude_type_checking_imports=True, cache_dir=None
    )


@cache
def _package_folders() -> dict[str, Path]:
    """Folders of the packages, by name: the checkout keeps `mvdiffusion_eval` in `eval/`."""
    specs = {name: find_spec(name) for name in PACKAGES}
    return {name: Path(spec.origin).parent for name, spec in specs.items() if spec and spec.origin}


def _module_file(module: str) -> Path:
    package, *rest = module.split(".")
    path = _package_folders()[package].joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _name_in_project(file: Path) -> str:
    folders = _package_folders().items()
    package, folder = next((p, folder) for p, folder in folders if file.is_relative_to(folder))
    return f"{package}/{file.relative_to(folder).as_posix()}"


@cache
def _data_below(folder: Path) -> list[Path]:
    below = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in below if path.suffix != ".py" and path.is_file()]


def _data_files(file: Path) -> Iterator[Path]:
    text = file.read_text()
    return (path for path in _data_below(file.parent) if path.name in text)


@cache
def _code_of(file: Path) -> str:
    """Return what of a file decides results: the syntax tree of Python, the hash of other files."""
    if file.suffix != ".py":
        return sha256_file(file)
    tree = ast.parse(file.read_bytes())
    tree.body = [node for node in tree.body if not _is_declaration(node)]
    return repr(_syntax(tree))


def _syntax(node: object) -> object:
    """Turn a syntax tree into tuples without positions, docstrings and empty fields.

    Unlike `ast.dump` this is the same in all versions of Python, which add empty fields.
    """
    if isinstance(node, list):
        return [_syntax(item) for item in node if not _is_docstring(item)]
    if isinstance(node, ast.AST):
        fields = [(name, getattr(node, name, None)) for name in node._fields]
        kept = [(name, _syntax(value)) for name, value in fields if value not in (None, [])]
        return type(node).__name__, kept
    return node


def _is_declaration(node: ast.AST) -> bool:
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return isinstance(target, ast.Name) and target.id == "METHOD"


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)
