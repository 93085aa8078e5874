# One experiment, as its configuration says: data, two training stages, generation, evaluation.
include: "rules/common.smk"
include: "rules/recipes.smk"
include: "rules/data.smk"
include: "rules/base.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


wildcard_constraints:
    digest="[0-9a-f]{12}",
    kind="|".join(EVALUATORS),
    method="|".join(METHODS),
    name="|".join(SCORED),
    split="train|evaluator",
    step="|".join(RECIPES),


# Targets. They list the settings files, so that results which other settings or other code left
# behind never satisfy them, and the scores, which are never brought from elsewhere.
rule data:
    input:
        "data/test.npy",
        expand("<results>/rooms/{split}/{split}.npy", split=["train", "evaluator"]),
        RECIPES["rooms_train"].path,
        RECIPES["rooms_evaluator"].path,


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
