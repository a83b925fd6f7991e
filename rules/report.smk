# One table, one figure, one list of what was rejected and why.
STAGE_FOLDERS = [
    *(f"results/{stage}" for stage in plan.ENTRY_STAGES),
    *(f"results/shards/{name}" for name in DATASETS),
]


rule rejected:
    input:
        rows=expand("results/batches/{batch}.tsv", batch=BATCHES),
        manifests=expand("{folder}/{batch}.tsv", folder=STAGE_FOLDERS, batch=BATCHES),
    output:
        table=report(
            "results/rejected.tsv",
            caption="../report/rejected.rst",
            category="Entries",
        ),
        funnel="results/funnel.tsv",
    log:
        "logs/rejected.log",
    benchmark:
        "results/benchmarks/rejected.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=CODE["rejected"],
        limit=PLAN.config["max_failed_fraction"],
    shell:
        "python workflow_scripts/rejected.py --rows {input.rows}"
        " --manifests {input.manifests} --max-failed-fraction {params.limit}"
        " --funnel {output.funnel} --out {output.table} > {log} 2>&1"
        " # code {params.code}"


rule report:
    input:
        rows=expand("results/batches/{batch}.tsv", batch=BATCHES),
        rejected="results/rejected.tsv",
        funnel="results/funnel.tsv",
        evaluate=expand("results/evaluate/{batch}.tsv", batch=BATCHES),
        cards=[PLAN.card(name) for name in DATASETS],
    output:
        page=report(
            "results/summary/index.html",
            caption="../report/page.rst",
            category="Summary",
        ),
        verdict="results/summary/verdict.txt",
        table=report(
            "results/summary/summary.tsv",
            caption="../report/summary_table.rst",
            category="Maps",
        ),
        figure=report(
            "results/summary/summary.png",
            caption="../report/summary_figure.rst",
            category="Maps",
        ),
        resolution=report(
            "results/summary/local_resolution.tsv",
            caption="../report/local_resolution.rst",
            category="Local resolution",
        ),
        curves=report(
            "results/summary/learning_curves.png",
            caption="../report/learning_curves.rst",
            category="Training",
        ),
    log:
        "logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        gpu=0,
    params:
        spec=SPEC["report"],
        code=CODE["report"],
    shell:
        "python workflow_scripts/report.py --rows {input.rows} --rejected {input.rejected} --funnel {input.funnel}"
        " --manifests {input.evaluate} --cards {input.cards} --spec {params.spec:q}"
        " --out results/summary > {log} 2>&1 # code {params.code}"
