# The embedded test and validation rooms, out of the DVC remote inside the repository. DVC checks
# every file's hash; that of the whole, data.dvc, is part of the recipes (recipes.smk).
rule fetch_data:
    input:
        "data.dvc",
    output:
        "data/test.npy",
        "data/validation.npy",
    log:
        "results/logs/fetch_data.log",
    localrule: True
    conda:
        "../envs/mvdiffusion.yaml"
    shell:
        "dvc pull --force {input} 2>&1 | tee {log}"
