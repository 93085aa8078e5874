# The paper's two stages. Trainings go before other steps that are ready, as the longest chains begin with
# them; that of inpainting, whose chain is shorter, goes after these. The first stage trains the UNet on
# single views. It is left out if it is null in the configuration; outpainting has none, because it starts
# from the inpainting model.
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
        unpack(sources.learned()),
        settings=recipes.settings_file("{task}_stage1"),
        base=tasks.model_file(tasks.base),
    output:
        model="<results>/models/{task}_stage1/model_index.json",
        curve="<results>/curves/{task}_stage1.jsonl",
    log:
        "<results>/logs/train_{task}_stage1.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage1.tsv"
    priority: 2
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.training_threads
    resources:
        **needs.training,
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
        unpack(sources.learned()),
        settings=recipes.settings_file("{task}_stage2"),
        base=tasks.model_file(tasks.single_view),
    output:
        model="<results>/models/{task}_stage2/model_index.json",
        curve="<results>/curves/{task}_stage2.jsonl",
    log:
        "<results>/logs/train_{task}_stage2.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage2.tsv"
    priority: 2
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.training_threads
    resources:
        **needs.training,
    params:
        settings=recipes.settings("{task}_stage2"),
    shell:
        train("stage2 --task {wildcards.task}", "{wildcards.task}_stage2", config["results_dir"])


# It is trained again under each further seed, so that tables can tell what another training changes.
for task, seed in tasks.seeds.trainings:
    recipes.register_training(
        f"{task}_stage2_seed{seed}",
        settings=tasks.settings(task, config[task]["stage2"]) | {"seed": seed},
        code="stage2",
        after=[tasks.single_view(task), *sources.steps(task, "train", "validation")],
    )

seeded = "{wildcards.task}_stage2_seed{wildcards.seed}"


rule train_stage2_seed:
    input:
        unpack(sources.learned()),
        settings=recipes.settings_file("{task}_stage2_seed{seed}"),
        base=lambda wildcards: tasks.model_index(tasks.single_view(wildcards.task)),
    output:
        model="<results>/models/{task}_stage2_seed{seed}/model_index.json",
        curve="<results>/curves/{task}_stage2_seed{seed}.jsonl",
    log:
        "<results>/logs/train_{task}_stage2_seed{seed}.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage2_seed{seed}.tsv"
    priority: 2
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.training_threads
    resources:
        **needs.training,
    params:
        settings=recipes.settings("{task}_stage2_seed{seed}"),
    shell:
        train("stage2 --task {wildcards.task}", seeded, config["results_dir"])


# Then the models that single methods need, as their declarations say.
for task, method in tasks.trainings:
    recipes.register_training(
        tasks.step_of(task, method),
        settings=tasks.training_settings(task, method),
        code=tasks.training_module(task, method),
        after=[tasks.start(task, method), *sources.steps(task, "train", "validation")],
    )


rule train_method:
    input:
        unpack(sources.learned()),
        settings=recipes.settings_file("{task}_{method}_model"),
        base=tasks.model_file(tasks.start),
    output:
        model="<results>/models/{task}_{method}_model/model_index.json",
        curve="<results>/curves/{task}_{method}_model.jsonl",
    log:
        "<results>/logs/train_{task}_{method}.log",
    benchmark:
        "<results>/benchmarks/train_{task}_{method}.tsv"
    priority: 2
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.training_threads
    resources:
        **needs.training,
    params:
        told=tasks.training_words(recipes),
    shell:
        train("{params.told:q}", "{wildcards.task}_{wildcards.method}_model", config["results_dir"])
