# Scores of folders of images. The miniature trains its own evaluators, on rooms held apart; they
# serve all tasks. Where the configuration trains none, pretrained extractors alone score.
FORMS = ("csv", "md", "tex", "html")
KINDS = ("main", "distances", "consistency", "controls", "published")
TABLES = [f"{task}_{kind}" for task in TASKS for kind in KINDS] + ["claims", "published"]


rule train_evaluator:
    input:
        settings=settings_file("{kind}"),
        views="<results>/images/evaluator_rooms/manifest.json",
    output:
        "<results>/evaluators/{kind}/extractor.json",
    log:
        "<results>/logs/train_{kind}.log",
    benchmark:
        "<results>/benchmarks/train_{kind}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    shell:
        "python -m mvdiffusion_eval train-extractor --kind {wildcards.kind} --settings {input.settings}"
        " --views $(dirname {input.views}) --output $(dirname {output}) --overwrite 2>&1 | tee {log}"


rule score:
    input:
        settings=settings_file("score_{task}_{name}"),
        features=settings_file("features"),
        generated="<results>/images/{task}/{name}/manifest.json",
        reference="<results>/images/{task}/real/manifest.json",
        vae_reconstruction=vae_reconstruction_file,
        evaluators=expand("<results>/evaluators/{kind}/extractor.json", kind=EVALUATORS),
    output:
        "<results>/scores/{task}/{name}.json",
    log:
        "<results>/logs/score_{task}_{name}.log",
    benchmark:
        "<results>/benchmarks/score_{task}_{name}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        cache=f"{config['results_dir']}/features",
        bound=lambda wildcards, input: bound_option(input.vae_reconstruction),
        evaluators=lambda wildcards, input: repeated("--extractor", folders_of(input.evaluators)),
    shell:
        "python -m mvdiffusion_eval score --settings {input.settings} --output {output} {params.bound:q}"
        " --generated $(dirname {input.generated}) --reference $(dirname {input.reference})"
        " {params.evaluators:q} --cache {params.cache} 2>&1 | tee {log}"


rule make_tables:
    input:
        settings=settings_file("tables"),
        scores=expand("<results>/scores/{folder}.json", folder=SCORED),
    output:
        tables=expand("<results>/tables/{table}.{ext}", table=TABLES, ext=FORMS),
        metrics="<results>/metrics.json",
    log:
        "<results>/logs/tables.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        hashes=repeated("--settings-sha256", named(TASKS, map(images_sha256, TASKS))),
    shell:
        "python -m mvdiffusion_eval tables {input.scores} --settings {input.settings} {params.hashes:q}"
        " --output-dir $(dirname {output.tables[0]})"
        " --metrics {output.metrics} 2>&1 | tee {log}"
