# Where all training starts. The miniature's base, trained from scratch, is to it what Stable
# Diffusion is to the paper; Stable Diffusion's own models are fetched.
rule fetch_base:
    input:
        settings=settings_file("{task}_pretrained"),
    output:
        "<results>/models/{task}_pretrained/model_index.json",
    log:
        "<results>/logs/fetch_{task}_pretrained.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    shell:
        "python -m mvdiffusion.cli fetch-base --settings {input.settings}"
        " --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


rule train_vae:
    input:
        settings=settings_file("vae"),
        data=data_file("panorama", "train"),
        validation=data_file("panorama", "validation"),
    output:
        model="<results>/models/vae/config.json",
        curve="<results>/curves/vae.jsonl",
    log:
        "<results>/logs/train_vae.log",
    benchmark:
        "<results>/benchmarks/train_vae.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        settings=told("vae"),
    shell:
        train("vae", "vae")


rule train_base:
    input:
        settings=settings_file("base"),
        data=data_file("panorama", "train"),
        validation=data_file("panorama", "validation"),
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
    threads: cores()
    params:
        settings=told("base"),
    shell:
        train("base", "base", base="base")


# What Stable Diffusion's inpainting model is to the paper: single views with a part given.
rule train_inpainting:
    input:
        settings=settings_file("outpaint_base"),
        data=data_file("outpaint", "train"),
        validation=data_file("outpaint", "validation"),
        base=f"<results>/models/{base_of('outpaint')}/model_index.json",
    output:
        model="<results>/models/outpaint_base/model_index.json",
        curve="<results>/curves/outpaint_base.jsonl",
    log:
        "<results>/logs/train_outpaint_base.log",
    benchmark:
        "<results>/benchmarks/train_outpaint_base.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        settings=told("outpaint_base"),
    shell:
        train("inpainting", "outpaint_base", base="base")
