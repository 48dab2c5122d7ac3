"""
Folds: which subjects train, which validate, which test.

IN   cohort/selected.tsv
OUT  splits/<split>/folds.tsv     one row a fold and scan: train, validation or test
     splits/<split>/audit.json    the leakage audit: nothing is trained on a split that fails it
     splits/<split>/table1.tsv    subjects, scans, class, age and sex by fold and side
"""


rule split_folds:
    """Split the subjects into folds."""
    input:
        selected=study("cohort/selected.tsv"),
    output:
        folds=study("splits/{split}/folds.tsv"),
    log:
        study("logs/split_folds/{split}.log"),
    benchmark:
        study("benchmarks/split_folds/{split}.tsv")
    wildcard_constraints:
        split=OWN_SPLITS,
    group:
        "cohort"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "split": {k: v for k, v in SPLITS[wildcards.split].items() if k != "heatmaps"},
            "classes": CLASSES,
            "seed": SEED,
        },
        code=code("split_folds.py"),
    script:
        "../../scripts/split_folds.py"


rule audit_folds:
    """Look for leaks: a subject or an image on two sides, a class that is missing, a scan unaccounted for."""
    input:
        selected=study("cohort/selected.tsv"),
        folds=study("splits/{split}/folds.tsv"),
    output:
        audit=study("splits/{split}/audit.json"),
        table1=study("splits/{split}/table1.tsv"),
    log:
        study("logs/audit_folds/{split}.log"),
    benchmark:
        study("benchmarks/audit_folds/{split}.tsv")
    wildcard_constraints:
        split=OWN_SPLITS,
    group:
        "cohort"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "classes": CLASSES,
            "trains": SPLITS[wildcards.split]["kind"] != "all_scans",
        },
        code=code("audit_folds.py"),
    script:
        "../../scripts/audit_folds.py"
