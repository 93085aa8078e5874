# Entry point: two experiments with the same rules, `run` as configured and `smoke` for tests. What
# `--configfile` gives is the whole configuration if it has all sections (as paper.yaml has);
# otherwise it changes some keys of mini.
import os
import shutil
import sys

from snakemake.utils import min_version

min_version("9.19")
sys.path.insert(0, workflow.basedir)  # this checkout's code is what the recipes are about


include: "workflow/rules/config.smk"


if not has_all_sections(config):

    configfile: "workflow/config/mini.yaml"


include: "workflow/rules/restart.smk"
include: "workflow/rules/fetch.smk"


ALIVE = resume_after_kill()
SMOKE = read_config("workflow/config/smoke.yaml")
# Rules run this environment's programs, activated or not; idle threads must not burn shared cores.
os.environ.update(PATH=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size((120, 24)).columns))


module experiment:
    pathvars:
        results=config["results_dir"],
        matterport3d=dataset_root(config, "matterport3d"),
        scannet=dataset_root(config, "scannet"),
    snakefile:
        "workflow/experiment.smk"
    config:
        checked(config, configuration_files())


use rule * from experiment


if config["results_dir"] != SMOKE["results_dir"]:

    module smoke_experiment:
        pathvars:
            results=SMOKE["results_dir"],
            matterport3d=dataset_root(SMOKE, "matterport3d"),
            scannet=dataset_root(SMOKE, "scannet"),
        snakefile:
            "workflow/experiment.smk"
        config:
            SMOKE

    # Real data are the same for all experiments, and so are the rules that make them.
    use rule * from smoke_experiment exclude dataset_settings, fetch_house, fetch_scene, extract_house_labels, extract_scene_labels, prepare_house, prepare_scene, split_houses, split_scenes, caption_views, caption_frames as smoke_*

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
