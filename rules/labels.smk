# Local-resolution labels by ResMap's steps.
rule labels:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
        inspect="results/inspect/{batch}.tsv",
    output:
        manifest="results/labels/{batch}.tsv",
    log:
        "logs/labels/{batch}.log",
    benchmark:
        "results/benchmarks/labels/{batch}.tsv"
    conda:
        LABEL_ENV
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=LABEL_GPUS,
    params:
        spec=SPEC["labels"],
        code=CODE["labels"],
    shell:
        "python workflow_scripts/resmap.py --batch {input.rows}"
        " --upstream fetch={input.fetch}"
        " --upstream inspect={input.inspect}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule labels_all:
    input:
        expand("results/labels/{batch}.tsv", batch=BATCHES),
