# Recipes: what decides a step's result, in the name of the settings file that the step reads.
#
# Snakemake does not see edits in imported Python, and without .snakemake/ (a fresh clone, results
# pulled with DVC) it does not see changed settings either: then only times of files speak. So every
# step takes as input <results>/settings/<step>-<digest>.json, whose digest covers the step's
# settings, the code its command imports, and the recipes of the steps before it. A changed recipe
# is a missing file; writing it moves what the old recipe made to <results>/.old (settings.smk), so
# neither numbers nor half-finished work of other settings can be taken for new.
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from mvdiffusion.code_closure import code_sha256
from mvdiffusion.training.identity import deciding_settings


class Recipe:
    """A step's settings file: its path, its text, and the paths that the step makes."""

    def __init__(self, step, settings, deciding, code, reads, after, makes, root, units):
        self.code, self.root = code, root
        self.told = json.dumps(settings, sort_keys=True)
        self.text = json.dumps(deciding, indent=2, sort_keys=True)
        decides = [Path(file).read_text() for file in reads] + list(units)
        before = [RECIPES[name].digest for name in after]
        self.digest = sha256([self.text, code_sha256(*code), decides, before])[:12]
        self.path = f"{root}/settings/{step}-{self.digest}.json"
        self.makes = [actual_path(path) for path in makes]


RECIPES = {}


def recipe(
    step, settings, code, deciding=None, reads=(), after=(), makes=(), root="<results>", units=()
):
    """Register a step: everything that decides its results.

    settings: what its command is told.
    code: the modules that its command runs; what they import is found.
    deciding: those of the settings that decide the result, if not all do.
    reads: small files, not made by any step, that it reads.
    after: the steps whose results it reads.
    makes: paths that hold its results and its unfinished work, and nothing else.
    root: the folder that its settings file goes to.
    units: names of what it is about that its settings do not hold.
    """
    deciding = settings if deciding is None else deciding
    RECIPES[step] = Recipe(step, settings, deciding, code, reads, after, makes, root, units)


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


def told(step):
    """The settings of a step as JSON. Snakemake reruns no job for a parameter that asks for outputs,
    so that settings which decide nothing reach the command and change no result."""
    return lambda wildcards, output: recipe_of(step.format(**dict(wildcards))).told


def train(command, step, base=None):
    """Command of a training rule. Checkpoints and logs outlive a killed job, so it can resume."""
    work = f"{config['results_dir']}/training/{step}"
    start = f" --base $(dirname {{input.{base}}})" if base else ""
    return (
        f"python -m mvdiffusion.cli train {command} --settings {{params.settings:q}}"
        f" --data $(dirname {{input.data}}) --validation $(dirname {{input.validation}}){start}"
        f" --output $(dirname {{output.model}}) --checkpoints {work}/checkpoints --log-dir {work}/log"
        " --overwrite"  # an earlier output is moved aside, which a re-run of a step before may ask for
        f" 2>&1 | tee {{log}} && cp {work}/log/metrics.jsonl {{output.curve}}"
    )
