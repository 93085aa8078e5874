# Images that are scored: first the real images of the test split.
images_sha256 = lambda wildcards: tasks.images_sha256(wildcards.task)

for task in tasks.names:
    recipes.register(
        f"{task}_real",
        settings=tasks.real(task, config[task]["generation"].get("num_samples")),
        besides=[tasks.images_sha256(task)],
        code=sources.export_code(task),
        after=sources.steps(task, "test"),
        makes=[f"<results>/images/{task}/real"],
    )


rule export_real:
    input:
        settings=recipes.settings_file("{task}_real"),
        data=sources.split("test"),
    output:
        "<results>/images/{task}/real/manifest.json",
    log:
        "<results>/logs/export_{task}_real.log",
    benchmark:
        "<results>/benchmarks/export_{task}_real.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        task="{task}",
        split="test",
        sha256=images_sha256,
    shell:
        "python -m mvdiffusion.cli data export --task {params.task} --split {params.split}"
        " --data $(dirname {input.data}) --settings {input.settings} --overwrite"
        " --settings-sha256 '{params.sha256}' --output $(dirname {output}) 2>&1 | tee {log}"


# Then those of every method, from the captions (and the given view, or the depth maps). Only methods
# with correspondence-aware attention need the model of stage 2.
for task, method in [(task, method) for task in tasks.names for method in tasks.made_here(task)]:
    recipes.register(
        f"{task}_{method}",
        settings=tasks.generation(task, method),
        besides=tasks.beside(task, method),
        code=tasks.generation_code(task, method),
        after=[*tasks.models(task, method), *sources.steps(task, "test")],
        makes=[f"<results>/images/{task}/{method}"],
    )


rule generate:
    input:
        settings=recipes.settings_file("{task}_{method}"),
        data=sources.split("test"),
        models=tasks.model_files,
    output:
        "<results>/images/{task}/{method}/manifest.json",
    log:
        "<results>/logs/generate_{task}_{method}.log",
    benchmark:
        "<results>/benchmarks/generate_{task}_{method}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.shared_cores
    resources:
        **needs.sampling,
    params:
        options=tasks.generation_options,
    shell:
        "python -m mvdiffusion.cli generate split --task {wildcards.task} --method {wildcards.method}"
        " {params.options:q} --data $(dirname {input.data}) --settings {input.settings} --split test"
        " --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


# And by the models of further training seeds, whose images differ in nothing but the training.
for task, method, seed in tasks.seeds.runs:
    recipes.register(
        f"{task}_{method}_seed{seed}",
        settings=tasks.generation(task, method),
        besides=tasks.beside(task, method),
        code=tasks.generation_code(task, method),
        after=[*tasks.seeds.models(task, method, seed), *sources.steps(task, "test")],
        makes=[f"<results>/images/{task}/{method}_seed{seed}"],
    )


use rule generate as generate_seed with:
    input:
        settings=recipes.settings_file("{task}_{method}_seed{seed}"),
        data=sources.split("test"),
        models=tasks.seeds.model_files,
    output:
        "<results>/images/{task}/{method}_seed{seed}/manifest.json",
    log:
        "<results>/logs/generate_{task}_{method}_seed{seed}.log",
    benchmark:
        "<results>/benchmarks/generate_{task}_{method}_seed{seed}.tsv"
