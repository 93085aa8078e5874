# What the rules of one experiment share: objects made from its configuration, see workflow/lib.
import re
from pathlib import Path

from mvdiffusion.code_closure import code_sha256
from workflow.lib.commands import external, named, repeated, shown, train
from workflow.lib.contents import content_sha256, scoring_packages
from workflow.lib.datasets import DATASETS, SPLITS, dataset_root
from workflow.lib.process import cores_of_jobs
from workflow.lib.recipes import Recipes
from workflow.lib.resources import Needs
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

roots = {name: dataset_root(config, name) for name in DATASETS}
sources = Sources(config)
tasks = Tasks(config, sources)
recipes = Recipes({"results": config["results_dir"], **roots}, tasks.processes("training"))
needs = Needs(tasks, cores_of_jobs(workflow))
