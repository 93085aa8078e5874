# What people look at: tables, figures, and one page with the panoramas beside it. A seal is the first
# output of its rule: the seal's command gets the file to write, then those that it is for.
scores = expand("<results>/scores/{folder}.json", folder=tasks.scored)
tables = [report(f"<results>/tables/{name}", **shown("Tables", name)) for name in tasks.tables]
figures = [report(f"<results>/figures/{name}", **shown("Figures", name)) for name in tasks.figures]
page = report("<results>/report.html", **shown("Pages", "report.html"))

recipes.register(
    "tables",
    settings=config["evaluation"]["claims"],
    besides=tasks.declarations,
    code=[
        "mvdiffusion_eval.cli.results:tables",
        "mvdiffusion_eval.tables.results",
        "mvdiffusion_eval.claims.remarks",
        "mvdiffusion_eval.tables.seeds",
    ],
    after=[*tasks.scores, *tasks.seeds.scores, *tasks.training_logs.values()],
    makes=["<results>/tables", "<results>/metrics.json"],
)


rule make_tables:
    input:
        settings=recipes.settings_file("tables"),
        scores=scores + expand("<results>/scores/{folder}.json", folder=tasks.seeds.scored),
        logs=expand("<results>/curves/{step}.jsonl", step=tasks.training_logs.values()),
    output:
        seal=recipes.seal("tables"),
        tables=tables,
        metrics="<results>/metrics.json",
    log:
        "<results>/logs/tables.log",
    benchmark:
        "<results>/benchmarks/tables.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        options=tasks.table_options,
    shell:
        "python -m mvdiffusion_eval tables {params.options:q} --output-dir $(dirname {output.seal})"
        " --metrics {output.metrics} 2>&1 | tee {log} && python -m workflow.lib.seal {output}"


recipes.register(
    "figures",
    settings={"num_samples": config["evaluation"]["contact_sheet_samples"]},
    besides=tasks.declarations,
    code=["mvdiffusion_eval.cli.results:figures", "mvdiffusion_eval.report.figures"],
    after=[*tasks.scores, *tasks.trained],
    makes=["<results>/figures"],
)


rule draw_figures:
    input:
        settings=recipes.settings_file("figures"),
        scores=scores,
        images=expand("<results>/images/{folder}/manifest.json", folder=tasks.scored),
        curves=expand("<results>/curves/{step}.jsonl", step=tasks.trained),
    output:
        seal=recipes.seal("figures"),
        figures=figures,
    log:
        "<results>/logs/figures.log",
    benchmark:
        "<results>/benchmarks/figures.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        options=tasks.figure_options,
    shell:
        "python -m mvdiffusion_eval figures {params.options:q} --output-dir $(dirname {output.seal})"
        " 2>&1 | tee {log} && python -m workflow.lib.seal {output}"


recipes.register(
    "leaderboard",
    settings={},
    besides=tasks.declarations,
    code=["mvdiffusion_eval.cli.leaderboard:leaderboard", "mvdiffusion_eval.report.leaderboard"],
    after=tasks.scores,
    makes=["<results>/leaderboard.html"],
)


rule write_leaderboard:
    input:
        recipes.settings_file("leaderboard"),
        scores=scores,
    output:
        report("<results>/leaderboard.html", **shown("Pages", "leaderboard.html")),
    log:
        "<results>/logs/leaderboard.log",
    benchmark:
        "<results>/benchmarks/leaderboard.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    shell:
        "python -m mvdiffusion_eval leaderboard {input.scores} --output {output} 2>&1 | tee {log}"


recipes.register(
    "report",
    settings={**sources.shown_configuration(), "steps": recipes.before()},
    besides=tasks.declarations,
    code=[
        "mvdiffusion_eval.cli.results:report",
        "mvdiffusion_eval.report.page",
        "mvdiffusion_eval.scoring.score_files",
    ],
    after=["tables", "figures"],
    makes=["<results>/report.html", "<results>/report_assets"],
)


rule write_report:
    input:
        settings=recipes.settings_file("report"),
        tables=[rules.make_tables.output.tables, rules.make_tables.output.metrics],
        figures=rules.draw_figures.output.figures,
        images=rules.draw_figures.input.images,
        scores=scores,
        seals=[recipes.seal("tables"), recipes.seal("figures")],
    output:
        page=page,
        assets=directory("<results>/report_assets"),
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/mvdiffusion.yaml"
    resources:
        **needs.reporting,
    params:
        options=tasks.report_options,
    shell:
        "python -m workflow.lib.seal --check {input.seals} && python -m mvdiffusion_eval report"
        " --config {input.settings} {params.options:q} --output {output.page} 2>&1 | tee {log}"
