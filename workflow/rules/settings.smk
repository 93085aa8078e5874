# Settings files: writing one removes what the step's earlier recipes made. See common.smk.
rule settings:
    output:
        "<results>/settings/{step}-{digest}.json",
    log:
        "<results>/logs/settings/{step}-{digest}.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    params:
        clears=lambda wildcards: RECIPES[wildcards.step].clears,
        text=lambda wildcards: RECIPES[wildcards.step].text,
    shell:
        "rm -rf {params.clears} > {log} 2>&1 && printf '%s\\n' {params.text:q} > {output}"
