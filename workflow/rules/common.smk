# Recipes: what decides a step's result, in the name of the settings file that the step reads.
#
# Snakemake does not see edits in imported Python, and without .snakemake/ (a fresh clone, results
# pulled with DVC) it does not see changed settings either: then only times of files speak. So every
# step takes as input <results>/settings/<step>-<digest>.json, whose digest covers the step's
# settings, the code its command imports, and the recipes of the steps before it. A changed recipe
# is a missing file; writing it removes what the old recipe made (rule `recipe`), so neither
# numbers nor half-finished work of other settings can be taken for new.
import ast
import hashlib
import json
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PROJECT = ("mvdiffusion", "eval")


class Recipe:
    """A step's settings file: its path, its text, and the paths that the step makes."""

    def __init__(self, step, settings, code, reads, after, makes):
        self.code = code
        self.text = json.dumps(settings, indent=2, sort_keys=True)
        bytes_read = [Path(file).read_text() for file in reads]
        before = [RECIPES[name].digest for name in after]
        self.digest = sha256([self.text, code_sha256(*code), bytes_read, before])[:12]
        self.path = f"<results>/settings/{step}-{self.digest}.json"
        # Of the step's earlier recipes nothing may remain.
        self.clears = [f"{config['results_dir']}/settings/{step}-*.json"] + [
            path.replace("<results>", config["results_dir"]) for path in makes
        ]


RECIPES = {}


def recipe(step, settings, code, reads=(), after=(), makes=()):
    """Register a step: everything that decides its results.

    settings: what its command is told.
    code: the modules that its command runs; what they import is found.
    reads: small files, not made by any step, that it reads.
    after: the steps whose results it reads.
    makes: paths that hold its results and its unfinished work, and nothing else.
    """
    RECIPES[step] = Recipe(step, settings, code, reads, after, makes)


def settings_file(step):
    """Input of the rule that runs the step; ``step`` may hold the rule's wildcards."""
    return lambda wildcards: RECIPES[step.format(**dict(wildcards))].path


def settings_files():
    """All of them: a target that lists them is never satisfied by results of other settings."""
    return [recipe.path for recipe in RECIPES.values()]


def sha256(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def with_views(values):
    """Settings of a command that cuts views: with the seed, the device and how views are cut."""
    shared = {
        "seed": config["seed"],
        "device": config["device"],
        "data": config["data"]["views"],
    }
    return shared | values


def rooms_of(split):
    rooms = config["data"]["rooms"]
    return rooms | {"num_scenes": {split: rooms["num_scenes"][split]}}


def model_of(method):
    """Whose model a method runs: the multi-view one only where its attention is asked for."""
    return "stage2" if method in ("mvdiffusion", "wrong_correspondence") else "stage1"


def generation_of(method):
    """Settings of a method's sampling; the control looks at fewer samples."""
    settings = dict(config["generation"])
    control_samples = settings.pop("control_samples")
    if method == "wrong_correspondence":
        settings["num_samples"] = control_samples
    return settings


def images_sha256():
    """Hash of everything upstream of generated images; tables refuse scores of any other."""
    return config_sha256("seed", "data", "base", "stage1", "stage2", "generation")


def config_sha256(*keys):
    return sha256({key: config[key] for key in keys})


def cores(share=1.0):
    """Threads of a rule: a share of the cores Snakemake may use."""
    return max(1, int((workflow.cores or 1) * share))


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
    path = Path(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py") if name else ()
    inside = name.split(".")[0] in PROJECT
    return next((file for file in candidates if inside and file.is_file()), None)


def imported_modules(name, file):
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
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


def train(stage, base=None):
    """Command of a training rule. Checkpoints and logs outlive a killed job, so it can resume."""
    work = f"{config['results_dir']}/training/{stage}"
    start = f" --base $(dirname {{input.{base}}})" if base else ""
    return (
        f"python -m mvdiffusion.cli train {stage} --settings {{input.settings}}"
        f" --data $(dirname {{input.rooms}}) --validation $(dirname {{input.validation}}){start}"
        f" --output $(dirname {{output.model}}) --checkpoints {work}/checkpoints --log-dir {work}/log"
        f" 2>&1 | tee {{log}} && cp {work}/log/metrics.jsonl {{output.curve}}"
    )


def named(names, paths):
    """NAME=FOLDER arguments for manifests, NAME=FILE for others."""
    folders = [Path(p).parent if Path(p).name == "manifest.json" else p for p in paths]
    return " ".join(f"{name}={path}" for name, path in zip(names, folders))
