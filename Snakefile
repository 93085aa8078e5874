# Entry point: two experiments with the same rules, `run` as configured (mini) and `smoke` for tests.
import os
import shutil
import sys

from snakemake.utils import min_version

min_version("9.19")


configfile: "workflow/config/mini.yaml"


include: "workflow/rules/config.smk"
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
    snakefile:
        "workflow/experiment.smk"
    config:
        checked(config, configuration_files())


use rule * from experiment


if config["results_dir"] != SMOKE["results_dir"]:

    module smoke_experiment:
        pathvars:
            results=SMOKE["results_dir"],
        snakefile:
            "workflow/experiment.smk"
        config:
            SMOKE

    use rule * from smoke_experiment as smoke_*

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
