# What a person looks at: figures, and one self-contained page.
PLOTS = [f"{plot}_{task}" for plot in ("overview", "psnr_per_pair") for task in TASKS]
PLOTS += ["error_accumulation_panorama"] if errors_by_step() else []
FIGURES = [f"contact_sheet_{task}.png" for task in TASKS] + [
    f"{plot}.{ext}" for plot in (*PLOTS, "training_curves") for ext in ("png", "svg", "csv")
]


rule draw_figures:
    input:
        settings=settings_file("figures"),
        scores=expand("<results>/scores/{folder}.json", folder=SCORED),
        images=expand("<results>/images/{folder}/manifest.json", folder=SCORED),
        curves=expand("<results>/curves/{stage}.jsonl", stage=STAGES),
    output:
        figures=expand("<results>/figures/{figure}", figure=FIGURES),
    log:
        "<results>/logs/figures.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        images=lambda wildcards, input: repeated("--generated", named(SCORED, input.images)),
        scores=lambda wildcards, input: repeated("--scores", input.scores),
        curves=lambda wildcards, input: repeated("--curves", named(STAGES, input.curves)),
        num_samples=config["evaluation"]["contact_sheet_samples"],
    shell:
        "python -m mvdiffusion_eval figures {params.images:q} {params.scores:q} {params.curves:q}"
        " --num-samples {params.num_samples}"
        " --output-dir $(dirname {output.figures[0]}) 2>&1 | tee {log}"


rule write_report:
    input:
        settings=settings_file("report"),
        tables=rules.make_tables.output.tables,
        metrics=rules.make_tables.output.metrics,
        figures=rules.draw_figures.output,
        images=rules.draw_figures.input.images,
    output:
        "<results>/report.html",
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        benchmarks=f"{config['results_dir']}/benchmarks",
        images=lambda wildcards, input: repeated("--generated", named(SCORED, input.images)),
    shell:
        "python -m mvdiffusion_eval report --tables $(dirname {input.tables[0]}) --metrics {input.metrics}"
        " --figures $(dirname {input.figures[0]}) --benchmarks {params.benchmarks}"
        " --config {input.settings} {params.images:q} --output {output} 2>&1 | tee {log}"
