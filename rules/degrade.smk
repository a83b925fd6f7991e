# A second source of training boxes: maps simulated from models. Off unless a table is configured.
rule degrade:
    input:
        rows=PLAN.config["simulated"]["entries"] or [],
    output:
        manifest="results/degrade/{task}/manifest.tsv",
    log:
        "logs/degrade/{task}.log",
    benchmark:
        "results/benchmarks/degrade/{task}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=0,
    params:
        spec=lambda wildcards: SPEC[f"degrade_{wildcards.task}"],
        code=CODE["degrade"],
    shell:
        "python workflow_scripts/degrade_models.py --batch {input.rows} --spec {params.spec:q}"
        " --code {params.code} --threads {threads} --out {output.manifest} > {log} 2>&1"
