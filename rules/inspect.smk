# The gate: files that cannot be trusted and pairs that do not fit become rows.
rule inspect:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
    output:
        manifest="results/inspect/{batch}.tsv",
    log:
        "logs/inspect/{batch}.log",
    benchmark:
        "results/benchmarks/inspect/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=0,
    params:
        spec=SPEC["inspect"],
        code=CODE["inspect"],
    shell:
        "python workflow_scripts/inspect_inputs.py --batch {input.rows}"
        " --upstream fetch={input.fetch}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule inspect_all:
    input:
        expand("results/inspect/{batch}.tsv", batch=BATCHES),
