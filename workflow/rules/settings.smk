# Settings files of all steps. Writing one moves aside what the step's earlier recipe made, see
# workflow/lib/recipes.py; rules take them as `settings=recipes.settings_file("<step>")`.
rule settings:
    output:
        "{root}/settings/{step}-{digest}.json",
    log:
        "{root}/logs/settings/{step}-{digest}.log",
    wildcard_constraints:
        root="|".join(
            map(re.escape, [config["results_dir"], *map(roots.get, sources.datasets.used)])
        ),
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        makes=lambda wildcards: recipes.find(wildcards.step).makes,
        text=lambda wildcards: recipes.find(wildcards.step).deciding,
    shell:
        "python -m workflow.lib.settings_file {output} {params.text:q} {params.makes:q}"
        " 2>&1 | tee {log}"
