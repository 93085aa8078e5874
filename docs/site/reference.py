"""Write the reference: configuration, commands, protocols and Python, each from what decides it.

mkdocs-gen-files runs this file when the site is built. Nothing that it writes is kept in git.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import mkdocs_gen_files
import typer.main
import yaml

import mvdiffusion.cli
import mvdiffusion_eval.cli
from mvdiffusion_eval.protocols.listing import protocol_rows
from mvdiffusion_eval.tables import columns

ROOT = Path(__file__).resolve().parents[2]
PYTHON = {
    "evaluation": (
        "What `import mvdiffusion_eval` gives, and what plug-ins are written with.",
        [
            *("mvdiffusion_eval.api", "mvdiffusion_eval.comparison", "mvdiffusion_eval.settings"),
            *("mvdiffusion_eval.artifacts.packing", "mvdiffusion_eval.artifacts.verifying"),
            *("mvdiffusion_eval.folders.opening", "mvdiffusion_eval.folders.samples"),
            *("mvdiffusion_eval.folders.methods", "mvdiffusion_eval.metrics.base"),
            *("mvdiffusion_eval.metrics.measurement", "mvdiffusion_eval.statistics"),
        ],
    ),
    "functional": ("Metrics as pure functions of arrays.", "eval/functional"),
    "pipelines": ("The tasks as diffusers pipelines.", "mvdiffusion/pipelines"),
    "methods": (
        "What a method declares, and what its functions get.",
        ["mvdiffusion.methods.declaration", "mvdiffusion.methods.base", "mvdiffusion.settings"],
    ),
    "geometry": ("Cameras, homographies, depth and panoramas.", "mvdiffusion/geometry"),
}
"""Pages of the Python reference: what they are about, and their modules or the folder of these."""


def write(page: str, lines: Iterator[str]) -> None:
    """Write a page."""
    with mkdocs_gen_files.open(f"reference/{page}.md", "w") as file:
        file.write("\n".join(lines) + "\n")


def cell(text: object) -> str:
    """A text that stands in one cell of a table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;").strip()


# Configuration


def configuration() -> Iterator[str]:
    """The keys of a configuration, section by section, from its schema."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    mini = yaml.safe_load((ROOT / "workflow/config/mini.yaml").read_text())
    yield "# Configuration\n"
    yield from (
        "Every key, from `workflow/schemas/config.schema.yaml`, which checks configurations",
        "before anything runs. *In mini* is the value in",
        "[mini.yaml](../source/workflow/config/mini.yaml.md), which explains every key, too.\n",
    )
    yield from section("The file", schema, mini)
    for name, definition in schema["$defs"].items():
        if "properties" in definition:
            yield from section(name.strip("_"), definition, {})


def section(name: str, definition: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """The keys of one section as a table."""
    yield f"## {name}\n"
    if said := definition.get("description"):
        yield re.sub(r"\s+", " ", said) + "\n"
    in_mini = bool(values)
    yield "| key | value | default | meaning |" + " in mini |" * in_mini
    yield "|---|---|---|---|" + "---|" * in_mini
    required = definition.get("required", ())
    for key, rule in definition["properties"].items():
        stated = f"`{json.dumps(rule['default'])}`" if "default" in rule else "–"
        default = "required" if key in required else stated
        row = f"| `{key}` | {kind(rule)} | {cell(default)} | {cell(rule.get('description', ''))} |"
        if in_mini:
            value = values.get(key, "–")
            row += f" {'a section' if isinstance(value, dict) else cell(value)} |"
        yield row
    yield ""


def kind(rule: Mapping[str, Any]) -> str:
    """What values a key takes, in words."""
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2].strip("_")
        return f"[{name}](#{name.lower()})"
    if "enum" in rule:
        return cell(" or ".join(f"`{json.dumps(value)}`" for value in rule["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in rule:
            return " or ".join(map(kind, rule[several]))
    if rule.get("type") == "array":
        return "list" + (
            f" of {kind(rule['items'])}" if isinstance(rule.get("items"), dict) else ""
        )
    low, high = (
        next((str(rule[key]) + open_ for key, open_ in pair if key in rule), "")
        for pair in (
            (("minimum", ""), ("exclusiveMinimum", ", excluded")),
            (("maximum", ""), ("exclusiveMaximum", ", excluded")),
        )
    )
    bounds = " ".join(filter(None, (f"from {low}" if low else "", f"up to {high}" if high else "")))
    return f"{rule.get('type', 'any value')} {bounds}".strip()


# Commands


def commands(name: str, app: typer.Typer) -> Iterator[str]:
    """Every subcommand of a command with its arguments and options."""
    command: Any = typer.main.get_command(app)
    yield f"# `{name}`\n"
    yield f"{command.help}\n"
    yield from subcommands(name, command)


def subcommands(name: str, command: Any) -> Iterator[str]:
    """The sections of a group's commands, those of groups in it included."""
    for word, sub in sorted(command.commands.items()):
        if hasattr(sub, "commands"):
            yield from subcommands(f"{name} {word}", sub)
        elif not sub.hidden:
            yield f"## `{name} {word}`\n"
            yield inspect.cleandoc(sub.help or "").replace("\b", "") + "\n"
            yield "| argument or option | default | meaning |\n|---|---|---|"
            yield from (parameter(p) for p in sub.params if not getattr(p, "hidden", False))
            yield ""


def parameter(found: Any) -> str:
    """One row: an argument or option."""
    option = found.param_type_name == "option"
    metavar = "" if getattr(found, "is_flag", False) else found.metavar or value_of(found)
    names = ", ".join([*found.opts, *found.secondary_opts]) if option else ""
    shown = f"{names} {metavar}".strip() + " …" * (found.multiple if option else found.nargs != 1)
    default = "required" if found.required else found.default
    nothing = default in (None, "", (), [], False) or callable(default)
    return f"| `{cell(shown)}` | {'' if nothing else cell(default)} | {cell(found.help or '')} |"


def value_of(found: Any) -> str:
    """What is written in the place of an argument's or option's value."""
    annotation = found.type_descriptor.annotation
    if choices := get_args(annotation) or getattr(annotation, "__members__", ()):
        return "|".join(str(getattr(choice, "value", choice)) for choice in choices)
    return {"str": "TEXT", "int": "N", "float": "X"}.get(
        annotation.__name__, annotation.__name__.upper()
    )


# Protocols and metrics


def protocols() -> Iterator[str]:
    """Every protocol, from the YAML files that define it, and the headings of metrics."""
    yield "# Protocols and metrics\n"
    yield "From `eval/protocols/definitions`; `mvdiffusion-eval protocols` prints the same.\n"
    defined = {
        entry["name"]: entry
        for path in sorted((ROOT / "eval/protocols/definitions").glob("*.yaml"))
        for entry in yaml.safe_load(path.read_text())
    }
    for row in protocol_rows():
        yield f"## `{row['name']}`\n"
        yield f"{cell(row['measures'])}.\n"
        yield "| | |\n|---|---|"
        for key in ("version", "tasks", "needs", "extractors", "source"):
            value = row[key]
            shown = ", ".join(value) if isinstance(value, (list, tuple)) else value
            yield f"| {key} | {cell(shown or '–')} |"
        yield ""
        for title, lines in (("Left open", row["undefined"]), ("Changes", row["changelog"])):
            if lines:
                yield f"**{title}**\n\n" + "".join(f"- {cell(line)}\n" for line in lines)
        if metrics := defined.get(row["name"], {}).get("metrics"):
            yield f"```yaml\n{yaml.safe_dump(metrics, sort_keys=False).strip()}\n```\n"
    yield "## Names of measurements\n"
    yield "What stands under which heading of the tables (`eval/tables/columns.py`).\n"
    yield "| name | heading |\n|---|---|"
    headings: dict[str, str] = {}
    for group in vars(columns).values():
        if isinstance(group, dict) and all(isinstance(title, str) for title in group.values()):
            headings = {**group, **headings}
    yield from (f"| `{key}` | {cell(title)} |" for key, title in sorted(headings.items()))


# Python


def python(about: str, modules: list[str] | str) -> Iterator[str]:
    """One page of the Python reference; mkdocstrings fills in the modules."""
    if isinstance(modules, str):
        package = modules.replace("eval", "mvdiffusion_eval").replace("/", ".")
        files = sorted(path.stem for path in (ROOT / modules).glob("[!_]*.py"))
        modules = [f"{package}.{name}" for name in files]
    yield f"# {about.rstrip('.')}\n"
    yield from (f"::: {module}\n" for module in modules)


write("configuration", configuration())
write("mvdiffusion", commands("mvdiffusion", mvdiffusion.cli.app))
write("mvdiffusion-eval", commands("mvdiffusion-eval", mvdiffusion_eval.cli.app))
write("protocols", protocols())
for page, (about, modules) in PYTHON.items():
    write(f"python/{page}", python(about, modules))
