# Before and after, against model, target and labels.
rule evaluate:
    input:
        rows="results/batches/{batch}.tsv",
        fetch="results/fetch/{batch}.tsv",
        inspect="results/inspect/{batch}.tsv",
        qscore="results/qscore/{batch}.tsv",
        simulate="results/simulate/{batch}.tsv",
        labels="results/labels/{batch}.tsv",
        enhanced="results/predict_enhance/{batch}.tsv",
        resolution="results/predict_resolution/{batch}.tsv",
        cards=PLAN.cards("resolution"),
    output:
        manifest="results/evaluate/{batch}.tsv",
    log:
        "logs/evaluate/{batch}.log",
    benchmark:
        "results/benchmarks/evaluate/{batch}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=0,
    params:
        spec=SPEC["evaluate"],
        code=CODE["evaluate"],
        cards=PLAN.card_options("resolution"),
    shell:
        "python workflow_scripts/evaluate.py --batch {input.rows}"
        " --upstream fetch={input.fetch} --upstream inspect={input.inspect}"
        " --optional qscore={input.qscore} --optional simulate={input.simulate}"
        " --optional labels={input.labels} --optional predict_enhance={input.enhanced}"
        " --optional predict_resolution={input.resolution} {params.cards}"
        " --spec {params.spec:q} --code {params.code} --threads {threads}"
        " --out {output.manifest} > {log} 2>&1"


rule evaluate_all:
    input:
        expand("results/evaluate/{batch}.tsv", batch=BATCHES),
