# The miniature's base: what Stable Diffusion is to the paper, trained from scratch.
rule train_vae:
    input:
        settings=settings_file("vae"),
        rooms="<results>/rooms/train/train.npy",
        validation="data/validation.npy",
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
        train("vae")


rule train_base:
    input:
        settings=settings_file("base"),
        rooms="<results>/rooms/train/train.npy",
        validation="data/validation.npy",
        vae="<results>/models/vae/config.json",
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
        train("base", base="vae")
