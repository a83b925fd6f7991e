# Which entries: a call of its own, `snakemake select`, because what it writes makes the DAG.
rule select:
    input:
        tables=PLAN.selection_files,
    output:
        manifest=update("results/select/manifest.tsv"),
        funnel=update("results/select/funnel.tsv"),
        rejected=update("results/select/rejected_all.tsv"),
        hubs=update("results/select/hubs.tsv"),
        leakage=update("results/select/leakage.tsv"),
        provenance=update("results/select/manifest.provenance.json"),
        figure=update("results/select/funnel.png"),
    log:
        "logs/select.log",
    benchmark:
        "results/benchmarks/select.tsv"
    localrule: not PLAN.config["selection"]["query"]
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=0,
        net=1,
    params:
        spec=lambda wildcards: SPEC["select"],
        code=CODE["select"],
    shell:
        "python workflow_scripts/select_entries.py --spec {params.spec:q} --code {params.code}"
        " --verbose --out results/select > {log} 2>&1"
