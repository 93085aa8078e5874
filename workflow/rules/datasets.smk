# The paper's data sets. The owners' scripts, which only licensees have, download them; then houses and
# scans are prepared one by one, divided into splits and captioned. Every command can be stopped,
# continues where it was, and reports what is missing. Snakemake deletes the outputs of a job before the
# job starts. Therefore outputs are marks beside the data, never the data. When a recipe changes, only
# labels are moved aside: the other commands run again, keep what their own records show to be up to
# date, and make the rest. Downloads have no recipe, because their owners decide what they contain.
datasets = sources.datasets
keep = {name: (lambda path: path) if datasets.keeps_downloads(name) else temp for name in DATASETS}


# At most four downloads run at once on one machine. The command itself tries again when the network
# fails, and prints the path of the file last. With another script or folder it looks again, but nothing
# after it runs. The mark is deleted together with the download, so that both are made again.
rule fetch_house:
    output:
        keep["matterport3d"]("<matterport3d>/fetched/{house}"),
    log:
        "<matterport3d>/logs/fetch/{house}.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    threads: -(-needs.cores // 4)
    params:
        unit="{house}",
        what=lambda wildcards: datasets.fetch_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data fetch {params.what:q} --unit {params.unit} 2>&1 | tee {log}"
        " && tail -n 1 {log} > {output}"


use rule fetch_house as fetch_scene with:
    output:
        keep["scannet"]("<scannet>/fetched/{split}/{scene}"),
    log:
        "<scannet>/logs/fetch/{split}_{scene}.log",
    localrule: True  # which is not inherited
    params:
        unit="{scene}",
        what=lambda wildcards: datasets.fetch_options("scannet"),


# The authors' labels have no records, and labels of an archive that is no longer named must not be read.
for name in filter(datasets.has_labels, datasets.used):
    recipes.register(
        f"{name}_labels",
        settings={},
        besides=datasets.labels_contents(name),
        code=["mvdiffusion.cli.datasets:data_labels", "mvdiffusion.preparation.labels"],
        makes=[f"<{name}>/labels"],
        root=f"<{name}>",
    )


rule extract_house_labels:
    input:
        settings=recipes.settings_file("matterport3d_labels"),
    output:
        "<matterport3d>/labels.extracted",
    log:
        "<matterport3d>/logs/labels.log",
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.preparing,
    params:
        what=lambda wildcards: datasets.extraction_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data labels {params.what:q} --overwrite 2>&1 | tee {log} && touch {output}"


use rule extract_house_labels as extract_scene_labels with:
    input:
        settings=recipes.settings_file("scannet_labels"),
    output:
        "<scannet>/labels.extracted",
    log:
        "<scannet>/logs/labels.log",
    params:
        what=lambda wildcards: datasets.extraction_options("scannet"),


# Labels of houses are read by the splits only, labels of scans also by the preparation.
for name in datasets.used:
    recipes.register(
        f"{name}_units",
        settings=config["datasets"][name]["preparation"],
        code=["mvdiffusion.cli.datasets:data_prepare", f"mvdiffusion.preparation.{name}"],
        after=datasets.labels_steps(name) if name == "scannet" else [],
        root=f"<{name}>",
    )


rule prepare_house:
    input:
        settings=recipes.settings_file("matterport3d_units"),
        fetched=ancient("<matterport3d>/fetched/{house}"),
    output:
        "<matterport3d>/prepared/{house}/.prepared",
    log:
        "<matterport3d>/logs/prepare/{house}.log",
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.preparing,
    params:
        then=lambda wildcards: datasets.after_preparing("matterport3d"),
    shell:
        "source=$(cat {input.fetched});"
        " python -m mvdiffusion.cli data prepare matterport3d --unit {wildcards.house}"
        ' --source "$source" --output $(dirname {output}) --settings {input.settings}'
        " --workers {threads} --overwrite 2>&1 | tee {log} && touch {output}{params.then}"


rule prepare_scene:
    input:
        settings=recipes.settings_file("scannet_units"),
        labels=lambda wildcards: datasets.labels_mark("scannet"),
        fetched=ancient("<scannet>/fetched/{split}/{scene}"),
    output:
        "<scannet>/prepared/{split}/{scene}/.prepared",
    log:
        "<scannet>/logs/prepare/{split}_{scene}.log",
    conda:
        "../envs/mvdiffusion.yaml"
    threads: min(4, needs.cores)
    resources:
        **needs.preparing,
    params:
        options=lambda wildcards: datasets.labels_options("scannet"),
        then=lambda wildcards: datasets.after_preparing("scannet"),
    shell:
        'source=$(cat {input.fetched}); python -m mvdiffusion.cli data prepare scannet --source "$source"'
        " --unit {wildcards.scene} --output $(dirname {output}) --settings {input.settings}"
        " {params.options:q} --workers {threads} --overwrite 2>&1 | tee {log} && touch {output}{params.then}"


for name in datasets.used:
    recipes.register(
        f"{name}_splits",
        settings=datasets.settings[name].get("splits", {}),
        besides=datasets.units(name),
        code=["mvdiffusion.cli.datasets:data_splits", "mvdiffusion.preparation.splits"],
        after=[f"{name}_units", *datasets.labels_steps(name)],
        root=f"<{name}>",
    )


rule split_houses:
    input:
        lambda wildcards: datasets.labels_mark("matterport3d"),
        settings=recipes.settings_file("matterport3d_splits"),
        units=lambda wildcards: datasets.prepared_units("matterport3d"),
    output:
        expand("<matterport3d>/prepared/{split}.npy", split=SPLITS),
        summary="<matterport3d>/prepared/splits.json",
    log:
        "<matterport3d>/logs/splits.log",
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        what=lambda wildcards: datasets.split_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data splits {params.what:q} --settings {input.settings}"
        " --prepared $(dirname {output.summary}) 2>&1 | tee {log}"


use rule split_houses as split_scenes with:
    input:
        settings=recipes.settings_file("scannet_splits"),
        units=lambda wildcards: datasets.prepared_units("scannet"),
    output:
        expand("<scannet>/prepared/{split}.json", split=SPLITS),
        summary="<scannet>/prepared/splits.json",
    log:
        "<scannet>/logs/splits.log",
    params:
        what=lambda wildcards: datasets.split_options("scannet"),


# The authors' captions come with the labels; BLIP-2 writes those that are missing.
for name in datasets.used:
    for split in SPLITS:
        recipes.register(
            f"{name}_captions_{split}",
            settings=config["datasets"][name]["captions"],
            besides=[content_sha256(config["datasets"][name]["captions"].get("model", ""))],
            code=["mvdiffusion.cli.datasets:data_caption", "mvdiffusion.preparation.captions"],
            after=[f"{name}_splits"],
            root=f"<{name}>",
        )


rule caption_views:
    input:
        settings=recipes.settings_file("matterport3d_captions_{split}"),
        split="<matterport3d>/prepared/{split}.npy",
    output:
        "<matterport3d>/prepared/captions_{split}.json",
    log:
        "<matterport3d>/logs/captions_{split}.log",
    benchmark:
        "<matterport3d>/logs/captions_{split}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.captioning,
    params:
        task="panorama",
    shell:
        "python -m mvdiffusion.parallel python -m mvdiffusion.cli data caption --task {params.task}"
        " --data $(dirname {output}) --split {wildcards.split} --settings {input.settings}"
        " --workers {threads} 2>&1 | tee {log}"


use rule caption_views as caption_frames with:
    input:
        settings=recipes.settings_file("scannet_captions_{split}"),
        split="<scannet>/prepared/{split}.json",
    output:
        "<scannet>/prepared/captions_{split}.json",
    log:
        "<scannet>/logs/captions_{split}.log",
    benchmark:
        "<scannet>/logs/captions_{split}.tsv"
    params:
        task="depth",
