# cryoclarity: from archive entries to improved maps. This file is a table of contents.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/select.smk"
include: "rules/fetch.smk"
include: "rules/inspect.smk"
include: "rules/qscore.smk"
include: "rules/simulate.smk"
include: "rules/labels.smk"
include: "rules/degrade.smk"
include: "rules/shards.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


localrules:
    all,
    batch,
    fetch_all,
    inspect_all,
    qscore_all,
    simulate_all,
    labels_all,
    shards_all,
    train_all,
    predict_all,
    evaluate_all,


rule all:
    default_target: True
    input:
        PLAN.unselected,
        "results/summary/summary.tsv",
        "results/summary/summary.png",
        "results/rejected.tsv",
