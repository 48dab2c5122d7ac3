"""
Splits: which subjects train, which validate, which test.

IN   cohort/selected.tsv
OUT  splits/<split>/folds.tsv     one row for each fold and scan: train, validation or test
     splits/<split>/audit.json    the leakage audit: nothing is trained on a split that fails it
     splits/<split>/table1.tsv    subjects, scans, class, age and sex by fold and side
"""


rule split_folds:
    """Split the subjects into folds."""
    input:
        selected="<results>/cohort/selected.tsv",
    output:
        folds="<results>/splits/{split}/folds.tsv",
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "cohort"
    params:
        settings=facts("split", "classes", "seed"),
    script:
        "../../scripts/split_folds.py"


rule audit_folds:
    """Check for leakage: a subject or an image on two sides, a missing class, a scan that is not accounted for."""
    input:
        selected="<results>/cohort/selected.tsv",
        folds="<results>/splits/{split}/folds.tsv",
    output:
        audit="<results>/splits/{split}/audit.json",
        table1="<results>/splits/{split}/table1.tsv",
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "cohort"
    params:
        settings=facts("classes", "trains"),
    script:
        "../../scripts/audit_folds.py"
