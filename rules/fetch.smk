# Maps, half maps and models by id: verified, hashed, renamed into place.
rule demo_archive:
    input:
        entries=PLAN.config["entries"],
    output:
        index="results/demo_archive/archive.tsv",
    log:
        "logs/demo_archive.log",
    benchmark:
        "results/benchmarks/demo_archive.tsv"
    conda:
        "../envs/core.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        code=CODE["demo_archive"],
    shell:
        "python workflow_scripts/demo_archive.py --entries {input.entries} --threads {threads}"
        " --out results/demo_archive > {log} 2>&1 # code {params.code}"


rule batch:
    input:
        entries=ancient(PLAN.entry_tables),
        table=ancient("results/batches.tsv"),
    output:
        rows="results/batches/{batch}.tsv",
    log:
        "logs/batch/{batch}.log",
    benchmark:
        "results/benchmarks/batch/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=5,
        gpu=0,
    params:
        rows=lambda wildcards: PLAN.rows(wildcards.batch),
        entries=lambda wildcards: PLAN.config["entries"],
        code=CODE["batch"],
    shell:
        "python workflow_scripts/batch.py --entries {params.entries} --table {input.table}"
        " --name {wildcards.batch} --out {output.rows} > {log} 2>&1"
        " # rows {params.rows} code {params.code}"


rule fetch:
    input:
        rows="results/batches/{batch}.tsv",
        archive=("results/demo_archive/archive.tsv" if PLAN.config["archive"]["demo"] else []),
    output:
        manifest="results/fetch/{batch}.tsv",
    log:
        "logs/fetch/{batch}.log",
    benchmark:
        "results/benchmarks/fetch/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=0,
        net=1,
    params:
        spec=SPEC["fetch"],
        code=CODE["fetch"],
    shell:
        "python workflow_scripts/fetch.py --batch {input.rows} --spec {params.spec:q}"
        " --code {params.code} --threads {threads} --out {output.manifest} > {log} 2>&1"


rule fetch_all:
    input:
        expand("results/fetch/{batch}.tsv", batch=BATCHES),
