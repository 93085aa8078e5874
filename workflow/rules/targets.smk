# Targets. They list the settings files, so that results of other settings or other code never satisfy
# them, and the scores, which no `dvc pull` brings.
rule data:
    input:
        sources.files(),
        sources.settings_files(recipes),


rule tables:
    input:
        recipes.settings_files(),
        rules.make_tables.input.scores,
        rules.make_tables.output,
        recipes.intact("tables"),


rule report:
    input:
        rules.tables.input,
        rules.draw_figures.output,
        rules.write_leaderboard.output,
        rules.write_report.output,
        recipes.intact("figures"),


rule run:
    input:
        rules.report.input,
        rules.make_tables.output,


# The model that all training starts from, if it is trained here.
rule release:
    input:
        recipes.settings_files(
            names=("rooms_train", "rooms_validation", *tasks.released, "release")
        ),
        [f"<results>/curves/{step}.jsonl" for step in tasks.released],
        rules.release_base.output,


wildcard_constraints:
    digest="[0-9a-f]{12}",
    external="[a-z0-9_-]+",
    house="[A-Za-z0-9]+",
    kind="|".join(tasks.extractors) or "none",
    method="|".join(tasks.every_method),
    name="(external/)?[a-z0-9_-]+",
    scene="[A-Za-z0-9_-]+",
    seed="|".join(map(str, tasks.seeds.further)) or "none",
    split="train|validation|test|extractor",
    step="|".join(recipes.steps),
    task="|".join(sources.started),
