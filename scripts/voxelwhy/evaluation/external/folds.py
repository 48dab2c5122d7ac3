"""The cohort of another study as test set: which model classifies which scan, and that the studies share no subject."""

from __future__ import annotations

import logging
import re

import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.evaluation.external.cohort import selected_path

log = logging.getLogger(__name__)

#: Columns that are compared between the cohorts, and what each identifies.
SHARED = {"subject_id": "subject", "voxel_hash": "image", "t1_hash": "registered image"}
#: Largest number of shared subjects or images that a message names.
MOST_NAMED = 5


def external_folds(selected, n_folds):
    """Assign every scan of the other cohort to the side test of every fold: each model classifies each scan.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED, of the other study
    n_folds : int, number of folds of the split whose models are tested

    Returns
    -------
    folds : DataFrame by tables.FOLDS
    """
    rows = selected[["scan_id", "subject_id", "label"]].reset_index(drop=True)
    folds = [rows.assign(fold=fold, side="test") for fold in range(n_folds)]
    return pd.concat(folds, ignore_index=True)[["fold", "side", "scan_id", "subject_id", "label"]]


def audit_external(selected, own, *, n_folds):
    """Check whether subjects or images of the other cohort are also in this study, on any side of its folds.

    Subjects are compared by `plain_subject`, images by the hashes of their voxels.

    Parameters
    ----------
    selected, own : DataFrames by tables.SELECTED, of the other study and of this one
    n_folds : int, number of folds of the split whose models are tested

    Returns
    -------
    audit : dict for JSON, in the form of `audit.audit_folds`: passed; checks, each {name, passed, detail};
        counts. All shared subjects and images are logged.
    """
    checks = []
    for column, word in SHARED.items():
        if shared := _shared(selected, own, column):
            known = selected[_compared(selected, column).isin(shared)]
            log.info("%ss that are in both studies: %s", word, ", ".join(known[column].unique()))
        checks.append(
            {
                "name": f"no {word} of the other study in this one",
                "passed": not shared,
                "detail": _detail(shared, selected[column].nunique(), word) if shared else "none found",
            }
        )
    counts = {
        "folds": n_folds,
        "scans": len(selected),
        "subjects": int(selected["subject_id"].nunique()),
        "images": int(selected["voxel_hash"].nunique()),
    }
    return {"passed": all(check["passed"] for check in checks), "checks": checks, "counts": counts}


def require_disjoint(audit, cohort, own_path):
    """Raise InputError unless no subject and no image is in both studies, according to `audit_external`.

    Parameters
    ----------
    cohort : str, name of the other study
    own_path : path of this study's selected.tsv, for the message
    """
    failed = [check["detail"] for check in audit["checks"] if not check["passed"]]
    if failed:
        raise InputError(
            f"people or images of {cohort} are also in this study, so its models may have been trained on them",
            file=selected_path(cohort),
            found="; ".join(failed),
            allowed=f"no subject and no image of {own_path}",
            hint="remove them from the table of one of the two studies and run that study again (the log of this job "
            "lists all of them); if they are different people with the same number, give them other subject ids in "
            "one table (cohort.source: folder, column subject)",
        )


def plain_subject(subject):
    """Return a subject's id in a form that can be compared: sources write one person's id in several ways.

    >>> plain_subject("sub-ADNI023S0030") == plain_subject("023_S_0030")
    True
    >>> plain_subject("sub-OASIS10061") == plain_subject("OAS1_0061")
    True
    """
    plain = re.sub(r"[^a-z0-9]", "", str(subject).lower()).removeprefix("sub").removeprefix("adni")
    return plain.replace("oasis", "oas", 1)


def _shared(selected, own, column):
    """Return the values of `column` that both cohorts have, each with one scan of either cohort."""
    ours = _by_value(own, column)
    return {value: (scan, ours[value]) for value, scan in _by_value(selected, column).items() if value in ours}


def _by_value(scans, column):
    """Return each value of `column`, as it is compared, with the first scan that has it."""
    values = _compared(scans, column)
    return scans["scan_id"].set_axis(values)[~values.duplicated().to_numpy()].to_dict()


def _compared(scans, column):
    return scans[column].map(plain_subject) if column == "subject_id" else scans[column]


def _detail(shared, of, word):
    named = [f"{there} (other study) and {here} (this study)" for there, here in list(shared.values())[:MOST_NAMED]]
    more = f", and {len(shared) - MOST_NAMED} more" if len(shared) > MOST_NAMED else ""
    return f"{len(shared)} of {of} {word}s, for example of the scans {', '.join(named)}{more}"
