# Views for the captions (and the given view, or the depth) of the test data, by every method. Only
# methods with correspondence-aware attention wait for stage 2.
rule generate:
    input:
        settings=settings_file("{task}_{method}"),
        data=data_of("test"),
        model=model_file,
    output:
        "<results>/images/{task}/{method}/manifest.json",
    log:
        "<results>/logs/generate_{task}_{method}.log",
    benchmark:
        "<results>/benchmarks/generate_{task}_{method}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        sha256=lambda wildcards: images_sha256(wildcards.task),
    shell:
        "python -m mvdiffusion.cli generate split --task {wildcards.task}"
        " --method {wildcards.method} --split test --model $(dirname {input.model})"
        " --data $(dirname {input.data}) --settings {input.settings}"
        " --settings-sha256 {params.sha256} --output $(dirname {output}) --overwrite 2>&1 | tee {log}"
