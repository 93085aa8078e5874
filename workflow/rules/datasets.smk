# The paper's data. Fetched by the owners' scripts, which only licensees have; prepared house by house
# and scan by scan, then cut into splits and captioned. Every command can be stopped, goes on where it
# was and says itself what is missing. Snakemake deletes a job's outputs before it starts, so that here
# they are marks beside what was fetched and prepared, and never the data.
rule dataset_settings:
    output:
        "{root}/settings/{step}-{digest}.json",
    log:
        "{root}/logs/settings/{step}-{digest}.log",
    wildcard_constraints:
        root="|".join(re.escape(actual_path(f"<{name}>")) for name in REAL),
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        makes=lambda wildcards: RECIPES[wildcards.step].makes,
        text=lambda wildcards: RECIPES[wildcards.step].text,
    shell:
        "python -m workflow.lib.settings_file {output} {params.text:q} {params.makes:q}"
        " 2>&1 | tee {log}"


# At most four downloads at once on one machine. The command itself tries again when the network fails; where the
# file is, it prints last. Another script or folder makes it look again, and nothing after it.
rule fetch_house:
    output:
        fetching("matterport3d", "<matterport3d>/fetched/{house}"),
    log:
        "<matterport3d>/logs/fetch/{house}.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    threads: -(-cores() // 4)
    params:
        unit="{house}",
        what=lambda wildcards: fetch_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data fetch {params.what:q} --unit {params.unit} 2>&1 | tee {log}"
        " && tail -n 1 {log} > {output}"


use rule fetch_house as fetch_scene with:
    output:
        fetching("scannet", "<scannet>/fetched/{split}/{scene}"),
    log:
        "<scannet>/logs/fetch/{split}_{scene}.log",
    params:
        unit="{scene}",
        what=lambda wildcards: fetch_options("scannet"),


rule extract_house_labels:
    input:
        settings=settings_file("matterport3d_labels"),
    output:
        "<matterport3d>/labels.extracted",
    log:
        "<matterport3d>/logs/labels.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        what=lambda wildcards: labels_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data labels {params.what:q} --overwrite 2>&1 | tee {log} && touch {output}"


use rule extract_house_labels as extract_scene_labels with:
    input:
        settings=settings_file("scannet_labels"),
    output:
        "<scannet>/labels.extracted",
    log:
        "<scannet>/logs/labels.log",
    params:
        what=lambda wildcards: labels_options("scannet"),


rule prepare_house:
    input:
        settings=settings_file("matterport3d_units"),
        fetched=ancient("<matterport3d>/fetched/{house}"),
    output:
        "<matterport3d>/prepared/{house}/.prepared",
    log:
        "<matterport3d>/logs/prepare/{house}.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        then=lambda wildcards: after_preparing("matterport3d"),
    shell:
        "source=$(cat {input.fetched});"
        " python -m mvdiffusion.cli data prepare matterport3d --unit {wildcards.house}"
        ' --source "$source" --output $(dirname {output}) --settings {input.settings}'
        " --workers {threads} --overwrite 2>&1 | tee {log} && touch {output}{params.then}"


rule prepare_scene:
    input:
        lambda wildcards: labels_mark("scannet"),
        settings=settings_file("scannet_units"),
        fetched=ancient("<scannet>/fetched/{split}/{scene}"),
    output:
        "<scannet>/prepared/{split}/{scene}/.prepared",
    log:
        "<scannet>/logs/prepare/{split}_{scene}.log",
    conda:
        "../envs/mvdiffusion.yaml"
    threads: min(4, cores())
    params:
        labels=lambda wildcards: labels_option("scannet"),
        then=lambda wildcards: after_preparing("scannet"),
    shell:
        "source=$(cat {input.fetched});"
        " python -m mvdiffusion.cli data prepare scannet --unit {wildcards.scene}"
        ' --source "$source" --output $(dirname {output}) --settings {input.settings}'
        " {params.labels:q} --workers {threads} --overwrite 2>&1 | tee {log} && touch {output}{params.then}"


rule split_houses:
    input:
        lambda wildcards: labels_mark("matterport3d"),
        settings=settings_file("matterport3d_splits"),
        units=lambda wildcards: prepared_units("matterport3d"),
    output:
        expand("<matterport3d>/prepared/{split}.npy", split=SPLITS),
        manifest="<matterport3d>/prepared/manifest.json",
    log:
        "<matterport3d>/logs/splits.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        what=lambda wildcards: split_options("matterport3d"),
    shell:
        "python -m mvdiffusion.cli data splits {params.what:q} --settings {input.settings}"
        " --prepared $(dirname {output.manifest}) 2>&1 | tee {log}"


use rule split_houses as split_scenes with:
    input:
        settings=settings_file("scannet_splits"),
        units=lambda wildcards: prepared_units("scannet"),
    output:
        expand("<scannet>/prepared/{split}.json", split=SPLITS),
        manifest="<scannet>/prepared/manifest.json",
    log:
        "<scannet>/logs/splits.log",
    params:
        what=lambda wildcards: split_options("scannet"),


# The authors' captions came with the labels; BLIP-2 makes those that are missing.
rule caption_views:
    input:
        settings=settings_file("matterport3d_captions_{split}"),
        split="<matterport3d>/prepared/{split}.npy",
    output:
        "<matterport3d>/prepared/captions_{split}.json",
    log:
        "<matterport3d>/logs/captions_{split}.log",
    benchmark:
        "<matterport3d>/logs/captions_{split}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    params:
        task="panorama",
    shell:
        "python -m mvdiffusion.cli data caption --task {params.task} --data $(dirname {output})"
        " --split {wildcards.split} --settings {input.settings} --workers {threads}"
        " 2>&1 | tee {log}"


use rule caption_views as caption_frames with:
    input:
        settings=settings_file("scannet_captions_{split}"),
        split="<scannet>/prepared/{split}.json",
    output:
        "<scannet>/prepared/captions_{split}.json",
    log:
        "<scannet>/logs/captions_{split}.log",
    benchmark:
        "<scannet>/logs/captions_{split}.tsv"
    params:
        task="depth",
