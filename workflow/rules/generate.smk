# Views for the captions of the test rooms, by every method. Only methods with
# correspondence-aware attention wait for stage 2.
rule generate:
    input:
        settings=settings_file("{method}"),
        rooms="data/test.npy",
        model=lambda wildcards: f"<results>/models/{model_of(wildcards.method)}/model_index.json",
    output:
        "<results>/images/{method}/manifest.json",
    log:
        "<results>/logs/generate_{method}.log",
    benchmark:
        "<results>/benchmarks/generate_{method}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        images_sha256(),
    shell:
        "python -m mvdiffusion.cli generate panorama --method {wildcards.method} --split test"
        " --model $(dirname {input.model}) --data $(dirname {input.rooms}) --settings"
        " {input.settings} --settings-sha256 {params} --output $(dirname {output}) 2>&1 | tee {log}"
