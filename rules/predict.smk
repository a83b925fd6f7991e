# Improved maps and local-resolution maps, each on the grid of its input.
rule predict:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
        inspect="results/inspect/{batch}.tsv",
        cards=lambda wildcards: PLAN.cards(wildcards.task),
    output:
        manifest="results/predict_{task}/{batch}.tsv",
    log:
        "logs/predict_{task}/{batch}.log",
    benchmark:
        "results/benchmarks/predict_{task}/{batch}.tsv"
    conda:
        TORCH_ENV
    threads: PLAN.config["predict"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=GPUS,
    params:
        spec=lambda wildcards: SPEC[f"predict_{wildcards.task}"],
        code=CODE["predict"],
        cards=lambda wildcards: PLAN.card_options(wildcards.task),
    shell:
        "python workflow_scripts/predict.py --batch {input.rows}"
        " --upstream fetch={input.fetch} --upstream inspect={input.inspect} {params.cards}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule predict_all:
    input:
        expand(
            "results/predict_{task}/{batch}.tsv",
            task=("enhance", "resolution"),
            batch=BATCHES,
        ),
