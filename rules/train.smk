# One network per data set. Rolling checkpoints lie outside the declared outputs and survive a kill.
rule train:
    input:
        index="results/index/{dataset}.tsv",
    output:
        weights="results/train/{dataset}/weights.safetensors",
        card="results/train/{dataset}/card.json",
        metrics="results/train/{dataset}/metrics.tsv",
    log:
        "logs/train/{dataset}.log",
    benchmark:
        "results/benchmarks/train/{dataset}.tsv"
    conda:
        TORCH_ENV
    threads: PLAN.config["train"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=1440,
        gpu=GPUS,
    params:
        spec=lambda wildcards: SPEC[f"train_{wildcards.dataset}"],
        code=CODE["train"],
        task=lambda wildcards: wildcards.dataset.split("_")[0],
        device=PLAN.config["device"],
    shell:
        "exec python workflow_scripts/train.py --task {params.task}"
        " --dataset {wildcards.dataset} --index {input.index} --spec {params.spec:q}"
        " --device {params.device} --threads {threads} --verbose --allow-empty"
        " --state-folder results/train_state/{wildcards.dataset} --other-checkpoint restart"
        " --out results/train/{wildcards.dataset} > {log} 2>&1 # code {params.code}"


rule train_all:
    input:
        expand("results/train/{dataset}/card.json", dataset=DATASETS),
