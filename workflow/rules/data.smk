# Rooms, walks through rooms, and the views cut from them. The test and validation rooms are
# embedded in the repository (data/, see fetch.smk); all else is rendered and compared with a
# recorded hash.
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
        kind="rooms",
        sha256=lambda wildcards: config["data"]["expected_sha256"][wildcards.split] or "",
    shell:
        "python -m mvdiffusion.cli data {params.kind} --settings {input.settings}"
        " --workers {threads} --split {wildcards.split} --output $(dirname {output})"
        " --expect-sha256 '{params.sha256}' --overwrite 2>&1 | tee {log}"


use rule render_rooms as render_walks with:
    input:
        settings=settings_file("walks_{split}"),
    output:
        "<results>/walks/{split}/{split}.json",
    log:
        "<results>/logs/walks_{split}.log",
    benchmark:
        "<results>/benchmarks/walks_{split}.tsv"
    params:
        kind="walks",
        sha256=lambda wildcards: config["data"]["expected_sha256"]["walks"][wildcards.split] or "",


rule export_real:
    input:
        settings=settings_file("{task}_real"),
        data=data_of("test"),
    output:
        "<results>/images/{task}/real/manifest.json",
    log:
        "<results>/logs/export_{task}_real.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        task="{task}",
        split="test",
        sha256=lambda wildcards: images_sha256(wildcards.task),
    shell:
        "python -m mvdiffusion.cli data export --task {params.task} --split {params.split}"
        " --root $(dirname {input.data}) --settings {input.settings}"
        " --settings-sha256 {params.sha256} --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


use rule export_real as export_evaluator_rooms with:
    input:
        settings=settings_file("evaluator_rooms"),
        data=rooms_file("evaluator"),
    output:
        "<results>/images/evaluator_rooms/manifest.json",
    log:
        "<results>/logs/export_evaluator_rooms.log",
    params:
        task="panorama",
        split="evaluator",
        sha256=sha256([config["data"]["views"], config["data"].get("rooms")]),
