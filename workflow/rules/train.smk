# The paper's two stages: the UNet on single views, then correspondence-aware attention alone.
rule train_stage1:
    input:
        settings=settings_file("stage1"),
        rooms="<results>/rooms/train/train.npy",
        validation="data/validation.npy",
        base="<results>/models/base/model_index.json",
    output:
        model="<results>/models/stage1/model_index.json",
        curve="<results>/curves/stage1.jsonl",
    log:
        "<results>/logs/train_stage1.log",
    benchmark:
        "<results>/benchmarks/train_stage1.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    shell:
        train("stage1", base="base")


rule train_stage2:
    input:
        settings=settings_file("stage2"),
        rooms="<results>/rooms/train/train.npy",
        validation="data/validation.npy",
        stage1="<results>/models/stage1/model_index.json",
    output:
        model="<results>/models/stage2/model_index.json",
        curve="<results>/curves/stage2.jsonl",
    log:
        "<results>/logs/train_stage2.log",
    benchmark:
        "<results>/benchmarks/train_stage2.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    shell:
        train("stage2", base="stage1")
