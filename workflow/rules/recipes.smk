# What decides each step's results, and which paths hold them. See common.smk.
DATA = config["data"]
EVALUATION = config["evaluation"]
SCORED = [f"{task}/{name}" for task in TASKS for name in scored(task)]
STAGES = (["vae", "base"] if TRAINED_BASE else []) + [
    step
    for task in TASKS
    for step in (single_view(task), f"{task}_stage2")
    if step not in ("base", base_of(task))
]


def drawing(kind, split, code):
    """Register a split of the rooms or the walks."""
    recipe(
        f"{kind}_{split}",
        settings=scenes_of(kind, split),
        code=[code],
        makes=[f"<results>/{kind}/{split}", f"<results>/{kind}/.{split}.*"],
    )


def training(step, task, settings, code, after=()):
    """Register the training of a model."""
    recipe(
        step,
        settings=with_data(task, settings),
        deciding=deciding_settings(with_data(task, settings)),
        code=[f"mvdiffusion.training.{code}"],
        reads=data_reads(task),
        after=[*after, *data_steps(task, "train", "validation")],
        makes=[
            f"<results>/models/{step}",
            f"<results>/training/{step}",
            f"<results>/curves/{step}.jsonl",
        ],
    )


def images(folder, settings, code, after, reads=()):
    """Register a folder of images."""
    task = Path(folder).parts[0]
    recipe(
        "_".join(Path(folder).parts),
        settings=settings,
        code=code,
        reads=reads,
        units=[images_sha256(task)] if task in TASKS else [],
        after=after,
        makes=[f"<results>/images/{folder}"],
    )


if "rooms" in SOURCES:
    drawing("rooms", "train", "mvdiffusion.preparation.rooms")
if EVALUATORS:
    drawing("rooms", "evaluator", "mvdiffusion.preparation.rooms")
if "walks" in SOURCES:
    for split in SPLITS:
        drawing("walks", split, "mvdiffusion.preparation.rooms.walks")

if TRAINED_BASE:
    training("vae", "panorama", config["base"]["vae"], "vae")
    training("base", "panorama", config["base"]["diffusion"], "base", ["vae"])
for task in TASKS:
    if not TRAINED_BASE:
        recipe(
            f"{task}_pretrained",
            settings={"model": config["base"]["pretrained"][task]},
            code=["mvdiffusion.conversion.base_model"],
            makes=[f"<results>/models/{task}_pretrained"],
        )
    step, section = single_view(task), single_view_section(task)
    if step in STAGES:
        training(step, task, config[task][section], "stage1", [base_of(task)])
    training(f"{task}_stage2", task, config[task]["stage2"], "stage2", [step])

for task in TASKS:
    images(
        f"{task}/real",
        settings=real_views(task, config[task]["generation"]["num_samples"]),
        code=EXPORT_CODE[task],
        after=data_steps(task, "test"),
        reads=data_reads(task),
    )
    for method in METHODS[task]:
        images(
            f"{task}/{method}",
            settings=with_data(task, generation_of(task, method)),
            code=["mvdiffusion.generation.split", f"mvdiffusion.methods.{method}"],
            after=[model_of(task, method), *data_steps(task, "test")],
            reads=data_reads(task),
        )

if EVALUATORS:
    images(
        "evaluator_rooms",
        settings=real_views("panorama", DATA["rooms"]["num_scenes"]["evaluator"]),
        code=EXPORT_CODE["panorama"],
        after=["rooms_evaluator"],
    )
for kind in EVALUATORS:
    recipe(
        kind,
        settings=EVALUATION["evaluators"][kind] | {"seed": config["seed"]},
        code=["mvdiffusion_eval.extractors.train", "mvdiffusion_eval.folders.opening"],
        after=["evaluator_rooms"],
        makes=[f"<results>/evaluators/{kind}"],
    )

# What scores keep of every image, for one another and for later ones. An image's features are the
# same whoever computes them; other code or other evaluators begin anew. Every score waits for that,
# so nothing is cleared while it is read.
recipe(
    "features",
    settings={},
    code=["mvdiffusion_eval.api"],
    after=EVALUATORS,
    makes=["<results>/features"],
)
for task in TASKS:
    for name in scored(task):
        compared = [f"{task}_{other}" for other in compared_with(task)]
        recipe(
            f"score_{task}_{name}",
            settings=EVALUATION["score"],
            code=["mvdiffusion_eval.api"],
            after=["features", f"{task}_{name}", *compared, *EVALUATORS],
            makes=[f"<results>/scores/{task}/{name}.json"],
        )

SCORES = [f"score_{task}_{name}" for task in TASKS for name in scored(task)]
recipe(
    "tables",
    settings=EVALUATION["claims"],
    code=["mvdiffusion_eval.tables.results", "mvdiffusion_eval.claims.remarks"],
    after=SCORES,
    makes=["<results>/tables", "<results>/metrics.json"],
)
recipe(
    "figures",
    settings={"num_samples": EVALUATION["contact_sheet_samples"]},
    code=["mvdiffusion_eval.report.figures"],
    after=[*SCORES, *STAGES],
    makes=["<results>/figures"],
)
recipe(
    "report",
    settings=shown_configuration(),
    code=["mvdiffusion_eval.report.page"],
    after=["tables", "figures"],
    makes=["<results>/report.html"],
)
