# The paper's two stages: the UNet on single views, then correspondence-aware attention. The task of
# outpainting has no first stage of its own: it goes on from the inpainting model (base.smk). A first
# stage that is null in the configuration is left out.
rule train_stage1:
    input:
        settings=settings_file("{task}_stage1"),
        data=data_of("train"),
        validation=data_of("validation"),
        base=base_file,
    output:
        model="<results>/models/{task}_stage1/model_index.json",
        curve="<results>/curves/{task}_stage1.jsonl",
    log:
        "<results>/logs/train_{task}_stage1.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage1.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        settings=told("{task}_stage1"),
    shell:
        train("stage1 --task {wildcards.task}", "{wildcards.task}_stage1", base="base")


rule train_stage2:
    input:
        settings=settings_file("{task}_stage2"),
        data=data_of("train"),
        validation=data_of("validation"),
        base=lambda wildcards: f"<results>/models/{single_view(wildcards.task)}/model_index.json",
    output:
        model="<results>/models/{task}_stage2/model_index.json",
        curve="<results>/curves/{task}_stage2.jsonl",
    log:
        "<results>/logs/train_{task}_stage2.log",
    benchmark:
        "<results>/benchmarks/train_{task}_stage2.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        settings=told("{task}_stage2"),
    shell:
        train("stage2 --task {wildcards.task}", "{wildcards.task}_stage2", base="base")
