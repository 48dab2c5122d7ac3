"""The leakage audit of a split: if it fails, nothing is trained."""

from __future__ import annotations

from voxelwhy.errors import InputError
from voxelwhy.io.tables import SIDES


def audit_folds(folds, selected, *, classes, trains=True):
    """Check a split for leakage and lost scans; subjects and images are taken from `selected`, not from `folds`.

    Parameters
    ----------
    folds : DataFrame by the schema FOLDS
    selected : DataFrame by the schema SELECTED
    classes : {"positive": name, "negative": name}
    trains : bool; False for existing weights: there is no side train, and every scan must be tested

    Returns
    -------
    audit : dict for JSON: passed; checks, each {name, passed, detail}; counts

    References
    ----------
    Wen et al. 2020 (arXiv 1904.07773) and Yagis et al. 2021: leakage alone adds up to 29 points of accuracy.
    """
    own = selected[["scan_id", "subject_id", "label", "voxel_hash", "t1_hash"]]
    joined = folds.merge(own, on="scan_id", how="left", suffixes=("_in_folds", ""), indicator="known")
    known = joined[joined["known"] == "both"]
    found = {
        "no subject on two sides of a fold": _on_two_sides(known, "subject_id", "subject"),
        "no identical image on two sides of a fold": _on_two_sides(known, "voxel_hash", "image"),
        "no identical registered image on two sides of a fold": _on_two_sides(known, "t1_hash", "registered image"),
        "both classes on every side of every fold": _lacks_a_class(known, classes, trains),
        "every selected scan in every fold, once": _not_once(folds, selected),
        "no scan that was not selected": [f"scan {scan}" for scan in _strange(joined)],
        "subjects and labels as selected": _altered(known),
    }
    if folds["fold"].nunique() > 1 or not trains:
        found["every selected scan tested in one fold"] = _not_tested_once(folds, selected)
    checks = [{"name": name, "passed": not faults, "detail": _detail(faults)} for name, faults in found.items()]
    return {
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        "counts": _counts(folds, selected),
    }


def require_passed(audit, path):
    """Raise InputError, listing the failed checks, unless the split passed `audit` (read from `path`)."""
    failed = [check for check in audit.get("checks", []) if not check["passed"]]
    if failed or not audit.get("passed"):
        raise InputError(
            "the leakage audit of this split failed: nothing is trained on it",
            file=path,
            found="; ".join(f"{check['name']}: {check['detail']}" for check in failed) or "no audit that passed",
            hint="correct the table (one subject_id for each person, each image once) and run snakemake again",
        )


def _on_two_sides(known, column, word):
    sides = known.groupby(["fold", column])["side"].unique()
    return [
        f"{word} {name} in {' and '.join(sorted(where))} of fold {fold} "
        f"({', '.join(known.loc[(known['fold'] == fold) & (known[column] == name), 'scan_id'])})"
        for (fold, name), where in sides.items()
        if len(where) > 1
    ]


def _lacks_a_class(known, classes, trains):
    labels = known.groupby(["fold", "side"])["label"].agg(set).to_dict()
    faults = []
    for fold in sorted(known["fold"].unique()):
        for side in SIDES:
            # Validation scans are optional; but an epoch must not be chosen by the scans of one class alone.
            optional = side == "validation" or (side == "train" and not trains)
            if optional and (fold, side) not in labels:
                continue
            missing = [name for name in classes.values() if name not in labels.get((fold, side), set())]
            faults += [f"no {name} in {side} of fold {fold}" for name in missing]
    return faults


def _not_once(folds, selected):
    times = folds.groupby(["fold", "scan_id"]).size()
    faults = [f"scan {scan} {n} times in fold {fold}" for (fold, scan), n in times.items() if n != 1]
    for fold in sorted(folds["fold"].unique()):
        there = set(folds.loc[folds["fold"] == fold, "scan_id"])
        faults += [f"scan {scan} not in fold {fold}" for scan in selected["scan_id"] if scan not in there]
    return faults or ([] if len(folds) else ["no folds"])


def _not_tested_once(folds, selected):
    times = folds.loc[folds["side"] == "test", "scan_id"].value_counts()
    return [f"scan {scan} tested {times.get(scan, 0)} times" for scan in selected["scan_id"] if times.get(scan, 0) != 1]


def _strange(joined):
    return joined.loc[joined["known"] != "both", "scan_id"].unique()


def _altered(known):
    differs = (known["subject_id"] != known["subject_id_in_folds"]) | (known["label"] != known["label_in_folds"])
    return [f"scan {scan}" for scan in known.loc[differs, "scan_id"].unique()]


def _detail(faults, most=5):
    if not faults:
        return "none found"
    more = f", and {len(faults) - most} more" if len(faults) > most else ""
    return ", ".join(faults[:most]) + more


def _counts(folds, selected):
    by_side = folds.groupby(["fold", "side"])
    return {
        "folds": int(folds["fold"].nunique()),
        "scans": len(selected),
        "subjects": int(selected["subject_id"].nunique()),
        "images": int(selected["voxel_hash"].nunique()),
        "sides": [
            {"fold": int(fold), "side": side, "scans": len(rows), "subjects": int(rows["subject_id"].nunique())}
            for (fold, side), rows in by_side
        ],
    }
