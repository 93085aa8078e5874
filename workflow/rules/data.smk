# Rooms and the views cut from them. The test and validation rooms are embedded in the repository
# (data/, see fetch.smk); the larger splits are rendered and compared with a recorded hash.
rule render_rooms:
    input:
        settings=settings_file("rooms_{split}"),
    output:
        "<results>/rooms/{split}/{split}.npy",
    log:
        "<results>/logs/rooms_{split}.log",
    benchmark:
        "<results>/benchmarks/rooms_{split}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        sha256=lambda wildcards: config["data"]["expected_sha256"][wildcards.split] or "",
    shell:
        "python -m mvdiffusion.cli data rooms --settings {input.settings} --workers {threads}"
        " --split {wildcards.split} --output $(dirname {output})"
        " --expect-sha256 '{params.sha256}' 2>&1 | tee {log}"


rule export_views:
    input:
        settings=settings_file("real"),
        rooms="data/test.npy",
    output:
        "<results>/images/real/manifest.json",
    log:
        "<results>/logs/export_real.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        split="test",
        sha256=images_sha256(),
    shell:
        "python -m mvdiffusion.cli data export --root $(dirname {input.rooms})"
        " --split {params.split} --settings {input.settings} --settings-sha256 {params.sha256}"
        " --output $(dirname {output}) 2>&1 | tee {log}"


use rule export_views as export_evaluator_views with:
    input:
        settings=settings_file("evaluator_rooms"),
        rooms="<results>/rooms/evaluator/evaluator.npy",
    output:
        "<results>/images/evaluator_rooms/manifest.json",
    log:
        "<results>/logs/export_evaluator_rooms.log",
    params:
        split="evaluator",
        sha256=config_sha256("data"),
