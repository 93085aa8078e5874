# Settings files: writing one moves aside what the step's earlier recipe made. See common.smk.
rule settings:
    output:
        "<results>/settings/{step}-{digest}.json",
    log:
        "<results>/logs/settings/{step}-{digest}.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        makes=lambda wildcards: RECIPES[wildcards.step].makes,
        text=lambda wildcards: RECIPES[wildcards.step].text,
    shell:
        "python -m workflow.lib.settings_file {output} {params.text:q} {params.makes:q}"
        " 2>&1 | tee {log}"
