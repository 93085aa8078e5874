# Recipes: what decides a step's result, in the name of the settings file that the step reads.
#
# Snakemake does not see edits in imported Python, and without .snakemake/ (a fresh clone, results
# pulled with DVC) it does not see changed settings either: then only times of files speak. So every
# step takes as input <results>/settings/<step>-<digest>.json, whose digest covers the step's
# settings, the code its command imports, and the recipes of the steps before it. A changed recipe
# is a missing file; writing it removes what the old recipe made (settings.smk), so neither
# numbers nor half-finished work of other settings can be taken for new.
import ast
import hashlib
import json
import re
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PROJECT = {"mvdiffusion": "mvdiffusion", "mvdiffusion_eval": "eval"}  # packages and their folders


class Recipe:
    """A step's settings file: its path, its text, and the paths that the step makes."""

    def __init__(self, step, settings, code, reads, after, makes, root, units):
        self.code, self.root = code, root
        self.text = json.dumps(settings, indent=2, sort_keys=True)
        decides = [Path(file).read_text() for file in reads] + list(units)
        before = [RECIPES[name].digest for name in after]
        self.digest = sha256([self.text, code_sha256(*code), decides, before])[:12]
        self.path = f"{root}/settings/{step}-{self.digest}.json"
        # Of the step's earlier recipes nothing may remain.
        self.clears = [f"{actual_path(root)}/settings/{step}-*.json", *map(actual_path, makes)]


RECIPES = {}


def recipe(step, settings, code, reads=(), after=(), makes=(), root="<results>", units=()):
    """Register a step: everything that decides its results.

    settings: what its command is told.
    code: the modules that its command runs; what they import is found.
    reads: small files, not made by any step, that it reads.
    after: the steps whose results it reads.
    makes: paths that hold its results and its unfinished work, and nothing else.
    root: the folder that its settings file goes to.
    units: names of what it is about that its settings do not hold.
    """
    RECIPES[step] = Recipe(step, settings, code, reads, after, makes, root, units)


def settings_file(step):
    """Input of the rule that runs the step; ``step`` may hold the rule's wildcards."""
    return lambda wildcards: recipe_of(step.format(**dict(wildcards))).path


def recipe_of(step):
    if step not in RECIPES:
        raise WorkflowError(
            f"workflow: the step '{step}' belongs to none of the tasks and methods of the"
            f" configuration; its tasks are {', '.join(TASKS)}"
        )
    return RECIPES[step]


def settings_files(root="<results>"):
    """All of them: a target that lists them is never satisfied by results of other settings."""
    return [recipe.path for recipe in RECIPES.values() if recipe.root == root]


def actual_path(path):
    """A path with folders in place of Snakemake's <results>, <matterport3d> and <scannet>."""
    for name in ("matterport3d", "scannet"):
        settings = config.get("datasets", {}).get(name, {})
        path = path.replace(f"<{name}>", settings.get("root", f"datasets/{name}"))
    return path.replace("<results>", config["results_dir"])


def sha256(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def named(names, values):
    """NAME=VALUE arguments; a manifest stands for its folder."""
    folders = [Path(v).parent if Path(v).name == "manifest.json" else v for v in values]
    return [f"{name}={value}" for name, value in zip(names, folders)]


def cores():
    """Threads of a rule that uses all the cores Snakemake may use."""
    return workflow.cores or 1


@cache
def code_sha256(*modules):
    """Hash the modules and, inside the project, all they import, also inside functions."""
    files = sorted({file for module in modules for file in import_closure(module)})
    return sha256([[file.as_posix(), file.read_bytes().hex()] for file in files])


@cache
def import_closure(entry):
    """Files of a module, of all its project imports and of the data files these name."""
    found, queue = {}, [entry]
    if module_file(entry) is None:
        raise WorkflowError(f"workflow: a rule names the module '{entry}', which does not exist")
    while queue:
        name = queue.pop()
        file = module_file(name)
        if file and name not in found:
            found[name] = file
            queue += [name.rpartition(".")[0], *imported_modules(name, file)]
    return {
        *found.values(),
        *(data for file in found.values() for data in data_files(file)),
    }


def module_file(name):
    first, *rest = name.split(".")
    path = Path(PROJECT.get(first, first), *rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if name else ()
    inside = first in PROJECT
    return next((file for file in candidates if inside and file.is_file()), None)


def imported_modules(name, file):
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []  # never run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def data_files(file):
    """Files beside or below a module, no Python, which its text names: published.yaml, templates."""
    text = file.read_text()
    below = (path for path in file.parent.rglob("*") if path.suffix not in (".py", ".pyc"))
    return [path for path in below if path.is_file() and path.name in text]


def train(command, step, base=None):
    """Command of a training rule. Checkpoints and logs outlive a killed job, so it can resume."""
    work = f"{config['results_dir']}/training/{step}"
    start = f" --base $(dirname {{input.{base}}})" if base else ""
    return (
        f"python -m mvdiffusion.cli train {command} --settings {{input.settings}}"
        f" --data $(dirname {{input.data}}) --validation $(dirname {{input.validation}}){start}"
        f" --output $(dirname {{output.model}}) --checkpoints {work}/checkpoints --log-dir {work}/log"
        " --overwrite"  # an earlier output is moved aside, which a re-run of a step before may ask for
        f" 2>&1 | tee {{log}} && cp {work}/log/metrics.jsonl {{output.curve}}"
    )
