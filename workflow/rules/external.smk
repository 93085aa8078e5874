# Images of methods that others have published, if the configuration names some (`external/<name>`): each
# is installed once, in external/<name>, and runs in its own environment on the prompts of the test split.
for task, name in tasks.external:
    recipes.register(
        f"{task}_external_{name}",
        settings=tasks.external_settings(task),
        besides=[tasks.images_sha256(task), tasks.external_sha256(task, name)],
        code=[
            "mvdiffusion.cli.external:external_run",
            "mvdiffusion.cli.external:external_import",
            "mvdiffusion.cli.data:open_dataset",
            "mvdiffusion.external.install",
            "mvdiffusion.external.generate",
            "mvdiffusion.external.importing",
        ],
        after=sources.steps(task, "test"),
        makes=[f"<results>/external/{task}/{name}", f"<results>/images/{task}/external/{name}"],
    )


# What the method writes is no output of the rule, since Snakemake deletes outputs before a job, and a
# killed run goes on where it was.
rule run_external:
    input:
        settings=recipes.settings_file("{task}_external_{external}"),
        data=sources.split("test"),
    output:
        "<results>/images/{task}/external/{external}/manifest.json",
    log:
        "<results>/logs/external_{task}_{external}.log",
    benchmark:
        "<results>/benchmarks/external_{task}_{external}.tsv"
    conda:
        "../envs/mvdiffusion.yaml"
    threads: needs.cores
    resources:
        **needs.external,
    params:
        sha256=images_sha256,
    shell:
        external(config["results_dir"])
