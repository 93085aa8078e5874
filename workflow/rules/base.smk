# The miniature's base: what Stable Diffusion is to the paper, trained from scratch.
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
    shell:
        train("base", "base", base="base")


# What Stable Diffusion's inpainting model is to the paper: single views with a part given.
rule train_inpainting:
    input:
        settings=settings_file("outpaint_base"),
        data=data_file("outpaint", "train"),
        validation=data_file("outpaint", "validation"),
        base="<results>/models/base/model_index.json",
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
    shell:
        train("inpainting", "outpaint_base", base="base")
