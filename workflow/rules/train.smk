# The paper's two stages. The first trains the UNet on single views. It is left out if it is null in the
# configuration; outpainting has none, because it starts from the inpainting model.
for task in tasks.names:
    if f"{task}_stage1" in tasks.trained:
        recipes.register_training(
            f"{task}_stage1",
            settings=tasks.settings(task, config[task]["stage1"]),
            code="stage1",
            after=[tasks.base(task), *sources.steps(task, "train", "validation")],
        )


rule train_stage1:
    input:
        settings=recipes.settings_file("{task}_stage1"),
        data=sources.split("train"),
        validation=sources.split("validation"),
        base=tasks.model_file(tasks.base),
    output:
        model="<results>/models/{task}_stage1/model_index.json",
        curve="<results>/curves/{task}_stage1.jsonl",
    log:
        "<results>/logs/train_{task}_stage1.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage1.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: training_threads
    params:
        settings=recipes.settings("{task}_stage1"),
    shell:
        train("stage1 --task {wildcards.task}", "{wildcards.task}_stage1", config["results_dir"])


# The second stage trains the correspondence-aware attention.
for task in tasks.names:
    recipes.register_training(
        f"{task}_stage2",
        settings=tasks.settings(task, config[task]["stage2"]),
        code="stage2",
        after=[tasks.single_view(task), *sources.steps(task, "train", "validation")],
    )


rule train_stage2:
    input:
        settings=recipes.settings_file("{task}_stage2"),
        data=sources.split("train"),
        validation=sources.split("validation"),
        base=tasks.model_file(tasks.single_view),
    output:
        model="<results>/models/{task}_stage2/model_index.json",
        curve="<results>/curves/{task}_stage2.jsonl",
    log:
        "<results>/logs/train_{task}_stage2.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage2.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: training_threads
    params:
        settings=recipes.settings("{task}_stage2"),
    shell:
        train("stage2 --task {wildcards.task}", "{wildcards.task}_stage2", config["results_dir"])
