# Scores of folders of images. The miniature trains its own feature extractors, on rooms of a split of
# their own, for all tasks; pretrained ones that the configuration names score beside them.
if tasks.extractors:
    recipes.register(
        "extractor_rooms",
        settings=tasks.real("panorama", config["data"]["rooms"]["num_scenes"]["extractor"]),
        code=sources.export_code("panorama"),
        after=["rooms_extractor"],
        makes=["<results>/images/extractor_rooms"],
    )


use rule export_real as export_extractor_rooms with:
    input:
        settings=recipes.settings_file("extractor_rooms"),
        data=sources.rooms_file("extractor"),
    output:
        "<results>/images/extractor_rooms/manifest.json",
    log:
        "<results>/logs/export_extractor_rooms.log",
    benchmark:
        "<results>/benchmarks/export_extractor_rooms.tsv"
    params:
        task="panorama",
        split="extractor",
        sha256="",


for kind in tasks.extractors:
    recipes.register(
        kind,
        settings={"seed": config["seed"]} | config["evaluation"]["extractors"][kind],
        besides=scoring_packages(),
        code=[
            "mvdiffusion_eval.cli.training:train_extractor",
            "mvdiffusion_eval.extractors.train",
            "mvdiffusion_eval.folders.opening",
        ],
        after=["extractor_rooms"],
        makes=[f"<results>/extractors/{kind}"],
    )


rule train_extractor:
    input:
        settings=recipes.settings_file("{kind}"),
        views="<results>/images/extractor_rooms/manifest.json",
    output:
        "<results>/extractors/{kind}/extractor.json",
    log:
        "<results>/logs/train_{kind}.log",
    benchmark:
        "<results>/benchmarks/train_{kind}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.shared_cores
    resources:
        **needs.extracting,
    params:
        device=config["device"],
    shell:
        "python -m mvdiffusion.parallel python -m mvdiffusion_eval train-extractor"
        " --kind {wildcards.kind} --device {params.device} --settings {input.settings}"
        " --views $(dirname {input.views}) --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


# All scores share one feature cache, since the features of an image do not depend on the score. Other
# code starts a cache of its own.
features = f"{config['results_dir']}/features/{code_sha256('mvdiffusion_eval.api')[:12]}"

for task, name in [f.split("/", 1) for f in (*tasks.scored, *tasks.seeds.scored)]:
    recipes.register(
        f"score_{task}_{name}",
        settings=config["evaluation"]["score"],
        besides=[*scoring_packages(), *map(content_sha256, tasks.named_extractors())],
        code=["mvdiffusion_eval.cli.scoring:score", "mvdiffusion_eval.api"],
        after=[*tasks.extractors, *(f"{task}_{other}" for other in [name, *tasks.compared(task)])],
        makes=[f"<results>/scores/{task}/{name}.json"],
    )


rule score:
    input:
        settings=recipes.settings_file("score_{task}_{name}"),
        generated="<results>/images/{task}/{name}/manifest.json",
        reference="<results>/images/{task}/real/manifest.json",
        vae_reconstruction=tasks.vae_reconstruction,
        extractor=expand("<results>/extractors/{kind}/extractor.json", kind=tasks.extractors),
    output:
        "<results>/scores/{task}/{name}.json",
    log:
        "<results>/logs/score_{task}_{name}.log",
    benchmark:
        "<results>/benchmarks/score_{task}_{name}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.scoring,
    params:
        options=lambda wildcards, input: tasks.score_options(input) + ["--cache", features],
    shell:
        "python -m mvdiffusion_eval score --generated $(dirname {input.generated}) {params.options:q}"
        " --settings {input.settings} --output {output} 2>&1 | tee {log}"
