# One experiment, as its configuration says: data, and for each task two training stages, generation
# and evaluation.
include: "rules/common.smk"
include: "rules/tasks.smk"
include: "rules/sources.smk"
include: "rules/dataset_recipes.smk"
include: "rules/recipes.smk"
include: "rules/settings.smk"
include: "rules/data.smk"
include: "rules/datasets.smk"
include: "rules/base.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


wildcard_constraints:
    digest="[0-9a-f]{12}",
    house="[A-Za-z0-9]+",
    kind="|".join(EVALUATORS) or "none",
    method="|".join({method for task in TASKS for method in METHODS[task]}),
    name="[a-z_]+",
    scene="[A-Za-z0-9_-]+",
    split="train|validation|test|evaluator",
    step="|".join(RECIPES),
    task="|".join(TASKS),


# Targets. They list the settings files, so that results which other settings or other code left
# behind never satisfy them, and the scores, which are never brought from elsewhere.
rule data:
    input:
        all_data(),
        data_settings_files(),


rule tables:
    input:
        settings_files(),
        rules.make_tables.input.scores,
        rules.make_tables.output,


rule report:
    input:
        settings_files(),
        rules.make_tables.input.scores,
        rules.draw_figures.output,
        rules.write_report.output,


rule run:
    input:
        rules.report.input,
        rules.make_tables.output,
