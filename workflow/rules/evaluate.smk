# Scores of folders of views. The miniature trains its own evaluators, on rooms held apart.
TABLES = ["main", "consistency", "controls", "claims", "published"]


rule train_evaluator:
    input:
        settings=settings_file("{kind}"),
        views="<results>/images/evaluator_rooms/manifest.json",
    output:
        "<results>/evaluators/{kind}/evaluator.json",
    log:
        "<results>/logs/train_{kind}.log",
    benchmark:
        "<results>/benchmarks/train_{kind}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: cores()
    shell:
        "python -m eval evaluator --kind {wildcards.kind} --settings {input.settings}"
        " --views $(dirname {input.views}) --output $(dirname {output}) 2>&1 | tee {log}"


rule score:
    input:
        settings=settings_file("score_{name}"),
        generated="<results>/images/{name}/manifest.json",
        reference="<results>/images/real/manifest.json",
        evaluators=expand("<results>/evaluators/{kind}/evaluator.json", kind=EVALUATORS),
    output:
        "<results>/scores/{name}.json",
    log:
        "<results>/logs/score_{name}.log",
    benchmark:
        "<results>/benchmarks/score_{name}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    shell:
        "python -m eval score --settings {input.settings} --output {output}"
        " --generated $(dirname {input.generated}) --reference $(dirname {input.reference})"
        " --evaluators $(dirname {input.evaluators}) 2>&1 | tee {log}"


rule make_tables:
    input:
        settings=settings_file("tables"),
        scores=expand("<results>/scores/{name}.json", name=SCORED),
    output:
        tables=expand("<results>/tables/{table}.{ext}", table=TABLES, ext=["csv", "md", "tex"]),
        metrics="<results>/metrics.json",
    log:
        "<results>/logs/tables.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        images_sha256(),
    shell:
        "python -m eval tables --scores {input.scores} --settings {input.settings}"
        " --settings-sha256 {params} --output-dir $(dirname {output.tables[0]})"
        " --metrics {output.metrics} 2>&1 | tee {log}"
