# The test and validation rooms, which the DVC remote inside the repository holds. DVC checks the hash of
# every file (`verify` in .dvc/config); the hash of all of them, in data.dvc, is part of the recipes.
if "rooms" in sources.used:
    for split in sources.embedded:
        recipes.register(
            f"rooms_{split}", settings={}, code=[], besides=[sources.embedded_md5("data")]
        )


rule fetch_data:
    input:
        "data.dvc",
    output:
        "data/test.npy",
        "data/validation.npy",
    log:
        "results/logs/fetch_data.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        md5=lambda wildcards: sources.embedded_md5("data"),
    shell:
        "dvc --wait-for-lock pull --force {input} 2>&1 | tee {log}"


# All other rooms are rendered, and their hash is compared with one that is recorded. They are as old as
# their recipe, which decides every byte: deleted and rendered again, they train no model again.
for split in sources.drawn("rooms"):
    recipes.register(
        f"rooms_{split}",
        settings=sources.scenes("rooms", split),
        code=["mvdiffusion.cli.data:data_rooms", "mvdiffusion.preparation.rooms"],
        makes=[f"<results>/rooms/{split}", f"<results>/rooms/.{split}.*"],
    )


rule render_rooms:
    input:
        settings=recipes.settings_file("rooms_{split}"),
    output:
        "<results>/rooms/{split}/{split}.npy",
    log:
        "<results>/logs/rooms_{split}.log",
    benchmark:
        "<results>/benchmarks/rooms_{split}.tsv"
    priority: 5  # first, as it takes all cores
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.preparing,
    params:
        kind="rooms",
        sha256=sources.expected_sha256("rooms"),
    shell:
        "python -m mvdiffusion.cli data {params.kind} --settings {input.settings}"
        " --workers {threads} --split {wildcards.split} --output $(dirname {output})"
        " --expect-sha256 '{params.sha256}' --overwrite 2>&1 | tee {log} && touch -r {input.settings} {output}"


# Walks of a camera through such rooms, with depth maps and poses.
for split in sources.drawn("walks"):
    recipes.register(
        f"walks_{split}",
        settings=sources.scenes("walks", split),
        code=["mvdiffusion.cli.data:data_walks", "mvdiffusion.preparation.rooms.walks"],
        makes=[f"<results>/walks/{split}", f"<results>/walks/.{split}.*"],
    )


use rule render_rooms as render_walks with:
    input:
        settings=recipes.settings_file("walks_{split}"),
    output:
        "<results>/walks/{split}/{split}.json",
    log:
        "<results>/logs/walks_{split}.log",
    benchmark:
        "<results>/benchmarks/walks_{split}.tsv"
    params:
        kind="walks",
        sha256=sources.expected_sha256("walks"),
