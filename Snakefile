# MVDiffusion's experiments. The files below hold the steps in the order in which they run; each step
# reads what those before it wrote. `run` is the experiment of the configuration, `smoke` the same
# with a few samples of everything. What `--configfile` gives is the whole configuration if it has
# all sections (as paper.yaml has); otherwise it changes some keys of mini.
import sys

from snakemake.utils import min_version

min_version("9.19")
sys.path.insert(0, workflow.basedir)  # recipes are about the code of this checkout
from workflow.lib.config import checked, configuration_files, has_all_sections, read_config
from workflow.lib.environment import prepare_environment
from workflow.lib.lock import hold_lock

if not has_all_sections(config):

    configfile: "workflow/config/mini.yaml"


checked(config, configuration_files(workflow.configfiles))
prepare_environment()


onstart:
    hold_lock("results/.lock")


include: "workflow/rules/common.smk"


pathvars:
    results=config["results_dir"],
    matterport3d=roots["matterport3d"],
    scannet=roots["scannet"],


# Data: procedural rooms and walks            -> <results>/rooms, <results>/walks
include: "workflow/rules/data.smk"
# or the paper's, Matterport3D and ScanNet     -> datasets/<name>/prepared
include: "workflow/rules/datasets.smk"
# Base models, trained or fetched              -> <results>/models/base, …
include: "workflow/rules/base.smk"
# The paper's two stages of training, by task  -> <results>/models/<task>_stage1, <task>_stage2
include: "workflow/rules/train.smk"
# Real images and those of every method        -> <results>/images/<task>/<method>
include: "workflow/rules/generate.smk"
# Feature extractors, and a score by folder    -> <results>/extractors, <results>/scores
include: "workflow/rules/evaluate.smk"
# Tables with verdicts on the claims, figures  -> <results>/tables, metrics.json, figures, report.html
include: "workflow/rules/report.smk"
# The file that every step reads first         -> <results>/settings/<step>-<digest>.json
include: "workflow/rules/settings.smk"
# Targets: data, tables, report, run
include: "workflow/rules/targets.smk"


SMOKE = read_config("workflow/config/smoke.yaml")

if config["results_dir"] != SMOKE["results_dir"]:

    module smoke_experiment:
        pathvars:
            results=SMOKE["results_dir"],
        snakefile:
            "Snakefile"
        config:
            SMOKE

    # Real data are the same for all experiments, and so are the rules that make them.
    use rule * from smoke_experiment exclude all, smoke, fetch_data, fetch_house, fetch_scene, extract_house_labels, extract_scene_labels, prepare_house, prepare_scene, split_houses, split_scenes, caption_views, caption_frames as smoke_*

    rule smoke:
        input:
            rules.smoke_run.input,

else:

    rule smoke:
        input:
            rules.run.input,


rule all:
    default_target: True
    input:
        rules.run.input,
