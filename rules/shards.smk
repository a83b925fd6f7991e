# Boxes for training: one HDF5 file per entry and data set, then one index per data set.
rule shards:
    input:
        rows=lambda wildcards: PLAN.rows_table(wildcards.batch),
        fetch=lambda wildcards: PLAN.manifest("fetch", wildcards.dataset, wildcards.batch),
        inspect=lambda wildcards: PLAN.manifest("inspect", wildcards.dataset, wildcards.batch),
        source=lambda wildcards: PLAN.box_source(wildcards.dataset, wildcards.batch),
    output:
        manifest="results/shards/{dataset}/{batch}.tsv",
    log:
        "logs/shards/{dataset}/{batch}.log",
    benchmark:
        "results/benchmarks/shards/{dataset}/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=0,
    params:
        spec=lambda wildcards: SPEC[f"shards_{wildcards.dataset}"],
        code=CODE["shards"],
        source=lambda wildcards: plan.BOX_SOURCES[wildcards.dataset.split("_")[0]],
    shell:
        "python workflow_scripts/shards.py --batch {input.rows}"
        " --upstream fetch={input.fetch} --upstream inspect={input.inspect}"
        " --upstream {params.source}={input.source}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule index:
    input:
        rows=[PLAN.rows_table(batch) for batch in PLAN.training_batches],
        fetch=lambda wildcards: [
            PLAN.manifest("fetch", wildcards.dataset, batch) for batch in PLAN.training_batches
        ],
        manifests=expand(
            "results/shards/{{dataset}}/{batch}.tsv",
            batch=PLAN.training_batches,
        ),
    output:
        index="results/index/{dataset}.tsv",
        leaks="results/index/{dataset}.leaks.tsv",
    log:
        "logs/index/{dataset}.log",
    benchmark:
        "results/benchmarks/index/{dataset}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        code=CODE["index"],
        twins="--one-per-map" if PLAN.one_per_map else "",
    shell:
        "python workflow_scripts/index.py --dataset {wildcards.dataset} --rows {input.rows}"
        " --fetch {input.fetch} --manifests {input.manifests}"
        " --leaks {output.leaks} {params.twins} --out {output.index}"
        " > {log} 2>&1 # code {params.code}"


rule shards_all:
    input:
        expand("results/index/{dataset}.tsv", dataset=DATASETS),
