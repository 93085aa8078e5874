# MVDiffusion's experiments. The files below hold the steps in the order in which they run; each step
# reads what those before it wrote. `run` is the experiment of the configuration, `smoke` the same
# with a few samples of everything, `base` the long training of the miniature's Stable Diffusion.
# What `--configfile` gives is the whole configuration if it has all sections (as paper.yaml has);
# otherwise it changes some keys of mini.
import sys

from snakemake.utils import min_version

min_version("9.19")
sys.path.insert(0, workflow.basedir)  # recipes are about the code of this checkout
from workflow.lib.config import complete, has_all_sections, read_config
from workflow.lib.process import JOB_PREFIX, hold_lock, prepare_environment

if not has_all_sections(config):

    configfile: "workflow/config/mini.yaml"


complete(config, workflow.configfiles, workflow.config_settings.config)
prepare_environment()
shell.prefix(JOB_PREFIX)


report: "workflow/report/workflow.rst"


# With --software-deployment-method apptainer, jobs run in this image (docs/cluster.md).
container: "mvdiffusion.sif"


onstart:
    hold_lock()


include: "workflow/rules/common.smk"


pathvars:
    results=config["results_dir"],
    matterport3d=roots["matterport3d"],
    scannet=roots["scannet"],


# data.dvc, settings   -> data, <results>/rooms, <results>/walks: procedural rooms, walks through them
include: "workflow/rules/data.smk"


if sources.datasets.used:

    # downloads      -> datasets/<name>/prepared: Matterport3D and ScanNet, as the paper has them
    include: "workflow/rules/datasets.smk"


# data                 -> <results>/models: the models that all training starts from, trained or fetched
include: "workflow/rules/base.smk"
# models, data         -> <results>/models/<task>_stage1, <task>_stage2: the paper's two stages
include: "workflow/rules/train.smk"
# models, test data    -> <results>/images/<task>/<method>: images of every method, and the real ones
include: "workflow/rules/generate.smk"
# prompts, test data   -> <results>/images/<task>/external/<name>: images of methods of others
include: "workflow/rules/external.smk"
# images               -> <results>/extractors, <results>/scores/<task>/<method>.json
include: "workflow/rules/evaluate.smk"
# scores, images       -> <results>/tables, metrics.json, figures, leaderboard.html, report.html
include: "workflow/rules/report.smk"
# configuration, code  -> <results>/settings/<step>-<digest>.json: what every step reads first
include: "workflow/rules/settings.smk"
# The targets data, tables, report, run and release
include: "workflow/rules/targets.smk"


SMOKE, BASE = (read_config(f"workflow/config/{name}.yaml") for name in ("smoke", "base"))

if config["results_dir"] == SMOKE["results_dir"]:

    rule smoke:
        input:
            rules.run.input,
            rules.release.input,

elif config["results_dir"] == BASE["results_dir"]:

    rule base:
        input:
            rules.release.input,

else:

    # All experiments read the same embedded data and model.
    module smoke_experiment:
        pathvars:
            results=SMOKE["results_dir"],
        snakefile:
            "Snakefile"
        config:
            SMOKE

    use rule * from smoke_experiment exclude all, smoke, fetch_data, fetch_miniature as smoke_*

    rule smoke:
        input:
            rules.smoke_run.input,
            rules.smoke_release.input,

    module base_experiment:
        pathvars:
            results=BASE["results_dir"],
        snakefile:
            "Snakefile"
        config:
            BASE

    use rule * from base_experiment exclude all, base, fetch_data, fetch_miniature as base_*

    rule base:
        input:
            rules.base_release.input,


rule all:
    default_target: True
    input:
        rules.run.input,
