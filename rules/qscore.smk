# Per-atom Q-scores by MapQ's rule.
rule qscore:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
        inspect="results/inspect/{batch}.tsv",
    output:
        manifest="results/qscore/{batch}.tsv",
    log:
        "logs/qscore/{batch}.log",
    benchmark:
        "results/benchmarks/qscore/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=0,
    params:
        spec=SPEC["qscore"],
        code=CODE["qscore"],
    shell:
        "python workflow_scripts/qscore.py --batch {input.rows}"
        " --upstream fetch={input.fetch}"
        " --upstream inspect={input.inspect}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule qscore_all:
    input:
        expand("results/qscore/{batch}.tsv", batch=BATCHES),
