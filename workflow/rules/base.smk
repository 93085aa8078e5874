# The models that all training starts from. In the paper they are those of Stable Diffusion, which are
# fetched. The miniature's is embedded in the repository, as the test rooms are; its hash, in base.dvc,
# is part of the recipes.
if sources.embeds_base:
    recipes.register("miniature", settings={}, code=[], besides=[sources.embedded_md5("base")])


use rule fetch_data as fetch_miniature with:
    input:
        "base.dvc",
    output:
        "base/model_index.json",
    log:
        "results/logs/fetch_miniature.log",
    localrule: True  # which is not inherited
    params:
        md5=lambda wildcards: sources.embedded_md5("base"),


for task in sources.started if sources.names_models else []:
    recipes.register(
        f"{task}_pretrained",
        settings={"model": config["base"]["pretrained"][task]},
        besides=[content_sha256(config["base"]["pretrained"][task])],
        code=["mvdiffusion.cli.tools:fetch_base", "mvdiffusion.conversion.base_model"],
        makes=[f"<results>/models/{task}_pretrained"],
    )


rule fetch_base:
    input:
        settings=recipes.settings_file("{task}_pretrained"),
    output:
        "<results>/models/{task}_pretrained/model_index.json",
    log:
        "<results>/logs/fetch_{task}_pretrained.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        model=lambda wildcards: config["base"]["pretrained"][wildcards.task],
    shell:
        "python -m mvdiffusion.cli fetch-base --model {params.model:q}"
        " --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


# From scratch, it is trained in two steps.
if sources.trains_base:
    recipes.register_training(
        "vae",
        settings=tasks.settings("panorama", config["base"]["vae"]),
        code="vae",
        after=sources.steps("panorama", "train", "validation"),
    )


rule train_vae:
    input:
        unpack(sources.learned("panorama")),
        settings=recipes.settings_file("vae"),
    output:
        model="<results>/models/vae/config.json",
        curve="<results>/curves/vae.jsonl",
    log:
        "<results>/logs/train_vae.log",
    benchmark:
        "<results>/benchmarks/train_vae.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.training,
    params:
        settings=recipes.settings("vae"),
    shell:
        train("vae", "vae", config["results_dir"], base=False)


# For the release: what the decoder makes of latents that do not change.
if "decoder" in tasks.released:
    recipes.register_training(
        "decoder",
        settings=tasks.settings("panorama", config["base"]["decoder"]),
        code="vae",
        command="decoder",
        after=["vae", *sources.steps("panorama", "train", "validation")],
    )


rule train_decoder:
    input:
        unpack(sources.learned("panorama")),
        settings=recipes.settings_file("decoder"),
        base="<results>/models/vae/config.json",
    output:
        model="<results>/models/decoder/config.json",
        curve="<results>/curves/decoder.jsonl",
    log:
        "<results>/logs/train_decoder.log",
    benchmark:
        "<results>/benchmarks/train_decoder.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.training,
    params:
        settings=recipes.settings("decoder"),
    shell:
        train("decoder", "decoder", config["results_dir"])


if sources.trains_base:
    recipes.register_training(
        "base",
        settings=tasks.settings("panorama", config["base"]["diffusion"]),
        code="base",
        after=["vae", *sources.steps("panorama", "train", "validation")],
    )


rule train_base:
    input:
        unpack(sources.learned("panorama")),
        settings=recipes.settings_file("base"),
        base="<results>/models/vae/config.json",
    output:
        model="<results>/models/base/model_index.json",
        curve="<results>/curves/base.jsonl",
    log:
        "<results>/logs/train_base.log",
    benchmark:
        "<results>/benchmarks/train_base.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.training,
    params:
        settings=recipes.settings("base"),
    shell:
        train("base", "base", config["results_dir"])


# For the release: the UNet once more, with the text encoder as it is.
if "unet" in tasks.released:
    recipes.register_training(
        "unet",
        settings=tasks.settings("panorama", config["base"]["unet"]),
        code="stage1",
        after=["base", *sources.steps("panorama", "train", "validation")],
    )


rule train_unet:
    input:
        unpack(sources.learned("panorama")),
        settings=recipes.settings_file("unet"),
        base="<results>/models/base/model_index.json",
    output:
        model="<results>/models/unet/model_index.json",
        curve="<results>/curves/unet.jsonl",
    log:
        "<results>/logs/train_unet.log",
    benchmark:
        "<results>/benchmarks/train_unet.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.training,
    params:
        settings=recipes.settings("unet"),
    shell:
        train("stage1 --task panorama", "unet", config["results_dir"])


# The trained base in half precision, with a card that says how it was made.
trials = "workflow/config/base_trials.csv"

if sources.trains_base:
    recipes.register(
        "release",
        settings={},
        besides=[content_sha256(trials)],
        code=["mvdiffusion.cli.tools:release_base", "mvdiffusion.release.base"],
        after=tasks.released,
        makes=["<results>/release"],
    )


rule release_base:
    input:
        settings=recipes.settings_file("release"),
        curves=[f"<results>/curves/{step}.jsonl" for step in tasks.released],
        rooms=sources.file("panorama", "train"),
        trials=trials,
    output:
        "<results>/release/model_index.json",
    log:
        "<results>/logs/release_base.log",
    benchmark:
        "<results>/benchmarks/release_base.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        trainings=tasks.release_options,
    shell:
        "python -m mvdiffusion.cli release-base {params.trainings:q} --rooms $(dirname {input.rooms})"
        " --trials {input.trials} --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


# The miniature's inpainting model completes single views of which a part is given.
if "outpaint_base" in tasks.trained:
    recipes.register_training(
        "outpaint_base",
        settings=tasks.settings("outpaint", config["outpaint"]["base"]),
        code="stage1",
        command="inpainting",
        after=[tasks.base("outpaint"), *sources.steps("outpaint", "train", "validation")],
    )


rule train_inpainting:
    input:
        unpack(sources.learned("outpaint")),
        settings=recipes.settings_file("outpaint_base"),
        base=tasks.model_index(tasks.base("outpaint")),
    output:
        model="<results>/models/outpaint_base/model_index.json",
        curve="<results>/curves/outpaint_base.jsonl",
    log:
        "<results>/logs/train_outpaint_base.log",
    benchmark:
        "<results>/benchmarks/train_outpaint_base.tsv"
    priority: 1
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.training_threads
    resources:
        **needs.training,
    params:
        settings=recipes.settings("outpaint_base"),
    shell:
        train("inpainting", "outpaint_base", config["results_dir"])
