# What decides each step's results, and which paths hold them. See common.smk.
DATA = config["data"]
EVALUATION = config["evaluation"]
EVALUATORS = list(EVALUATION["evaluators"])
METHODS = config["methods"]
SCORED = ["real", *METHODS]
STAGES = ["vae", "base", "stage1", "stage2"]


for split in ("train", "evaluator"):
    recipe(
        f"rooms_{split}",
        settings=rooms_of(split),
        code=["mvdiffusion.data.rooms"],
        makes=[f"<results>/rooms/{split}", f"<results>/rooms/.{split}.*"],
    )

for stage, settings, code, before in [
    ("vae", config["base"]["vae"], "mvdiffusion.training.vae", "rooms_train"),
    ("base", config["base"]["diffusion"], "mvdiffusion.training.base", "vae"),
    ("stage1", config["stage1"], "mvdiffusion.training.single_view", "base"),
    ("stage2", config["stage2"], "mvdiffusion.training.multiview", "stage1"),
]:
    recipe(
        stage,
        settings=with_views(settings),
        code=[code],
        reads=["data.dvc"],
        after=[before],
        makes=[
            f"<results>/models/{stage}",
            f"<results>/training/{stage}",
            f"<results>/curves/{stage}.jsonl",
        ],
    )

for method in METHODS:
    recipe(
        method,
        settings=with_views(generation_of(method)),
        code=["mvdiffusion.generation"],
        reads=["data.dvc"],
        after=[model_of(method)],
        makes=[f"<results>/images/{method}"],
    )

for step, count, before in [
    ("real", config["generation"]["num_samples"], []),
    ("evaluator_rooms", DATA["rooms"]["num_scenes"]["evaluator"], ["rooms_evaluator"]),
]:
    recipe(
        step,
        settings=DATA["views"] | {"num_samples": count},
        code=["mvdiffusion.data.matterport3d", "mvdiffusion.data.views"],
        reads=["data.dvc"],
        after=before,
        makes=[f"<results>/images/{step}"],
    )

for kind in EVALUATORS:
    recipe(
        kind,
        settings=EVALUATION["evaluators"][kind] | {"seed": config["seed"]},
        code=["eval.evaluators"],
        after=["evaluator_rooms"],
        makes=[f"<results>/evaluators/{kind}"],
    )

for name in SCORED:
    recipe(
        f"score_{name}",
        settings=EVALUATION["score"],
        code=["eval.scoring"],
        after=[name, "real", *EVALUATORS],
        makes=[f"<results>/scores/{name}.json"],
    )

SCORES = [f"score_{name}" for name in SCORED]
recipe(
    "tables",
    settings=EVALUATION["claims"],
    code=["eval.tables"],
    after=SCORES,
    makes=["<results>/tables", "<results>/metrics.json"],
)
recipe(
    "figures",
    settings={"num_samples": EVALUATION["contact_sheet_samples"]},
    code=["eval.figures"],
    after=[*SCORES, *STAGES],
    makes=["<results>/figures"],
)
recipe(
    "report",
    settings=config,
    code=["eval.report"],
    after=["tables", "figures"],
    makes=["<results>/report.html"],
)


rule settings:
    output:
        "<results>/settings/{step}-{digest}.json",
    log:
        "<results>/logs/settings/{step}-{digest}.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        clears=lambda wildcards: RECIPES[wildcards.step].clears,
        text=lambda wildcards: RECIPES[wildcards.step].text,
    shell:
        "rm -rf {params.clears} > {log} 2>&1 && printf '%s\\n' {params.text:q} > {output}"
