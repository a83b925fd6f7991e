# Target maps: every atom blurred by the resolution that its Q-score stands for.
rule simulate:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
        inspect="results/inspect/{batch}.tsv",
        qscore="results/qscore/{batch}.tsv",
    output:
        manifest="results/simulate/{batch}.tsv",
    log:
        "logs/simulate/{batch}.log",
    benchmark:
        "results/benchmarks/simulate/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=0,
    params:
        spec=SPEC["simulate"],
        code=CODE["simulate"],
    shell:
        "python workflow_scripts/simulate.py --batch {input.rows}"
        " --upstream fetch={input.fetch}"
        " --upstream inspect={input.inspect}"
        " --upstream qscore={input.qscore}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule simulate_all:
    input:
        expand("results/simulate/{batch}.tsv", batch=BATCHES),
