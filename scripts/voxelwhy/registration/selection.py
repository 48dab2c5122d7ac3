"""What the study uses of the registered scans, and everything that it does not use, with reasons."""

from __future__ import annotations

import difflib
import hashlib
import logging

import pandas as pd

from voxelwhy.cohort.skull_stripping import require_one_kind
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import EXCLUDED, SELECTED

log = logging.getLogger(__name__)

_FIGURES = ("correlation_brain", "mask_dice", "jacobian_min", "jacobian_max")


# Where a limit is the most that is allowed, not the least.
_UPPER = ("jacobian_max",)


def select_scans(scans, dropped, qualities, t1_paths, *, limits=None, skip=None):
    """Keep the scans that were registered; list all others by stage and reason.

    Parameters
    ----------
    scans, dropped : DataFrames by tables.SCANS and tables.DROPPED
    qualities : dict, scan_id to the content of its quality.json
    t1_paths : dict, scan_id to the path of its registered image
    limits : dict, optional; quality figure to the least value (correlation_brain, mask_dice, jacobian_min) or the
        largest (jacobian_max) with which a scan is used
    skip : dict, optional; scan_id of a scan that a person has rejected, to that person's words. It needs no quality.
        That there is such a scan was checked when the table was read (`require_known`)

    Returns
    -------
    selected : DataFrame by tables.SELECTED, in the order of `scans`
    excluded : DataFrame by tables.EXCLUDED: the dropped rows first, then scans in the order of `scans`

    Raises
    ------
    ConfigError : `limits` names a figure that there is none of.
    InputError : a scan was not registered at all (a fault of the program), the registered scans mix brains and whole
        heads, or fewer than two classes are left.

    Images that are identical in different subjects are logged only: the audit of the folds decides about them.
    """
    limits, skip = dict(limits or {}), dict(skip or {})
    unknown = sorted(set(limits) - set(_FIGURES))
    if unknown:
        raise ConfigError("a limit on a quality figure that there is none of", found=unknown[0], allowed=_FIGURES)
    kept, out = [], [{"stage": "parse_tables"} | row for row in dropped.to_dict("records")]
    used = [scan for scan in scans["scan_id"] if scan not in skip]
    missing = [scan for scan in used if scan not in qualities]
    if missing:
        raise InputError(f"scan {missing[0]} has no result of its registration", hint="run snakemake again")
    registered = {scan: qualities[scan] for scan in used if qualities[scan]["status"] == "ok"}
    require_one_kind({scan: (q["skull_stripped"], q["scan_cm3"]) for scan, q in registered.items()})
    for scan in scans.to_dict("records"):
        if scan["scan_id"] in skip:
            fault = {"stage": "select_scans", "reason": "rejected by a person", "detail": skip[scan["scan_id"]]}
        else:
            quality = qualities[scan["scan_id"]]
            fault = _fault(quality, limits)
        if fault:
            out.append({name: scan[name] for name in ("scan_id", "subject_id", "session", "label")} | fault)
        else:
            figures = {name: quality[name] for name in (*_FIGURES, "voxel_hash", "t1_hash")}
            figures["maps_hash"] = _maps_hash(quality.get("maps", {}))
            kept.append(scan | figures | {"t1": str(t1_paths[scan["scan_id"]])})
    selected = pd.DataFrame(kept, columns=list(SELECTED.columns))
    excluded = pd.DataFrame(out, columns=list(EXCLUDED.columns)).astype({"row": "Int64"})
    log.info("%d of %d scans are used", len(selected), len(scans))
    for row in exclusion_counts(excluded).itertuples():
        log.info("left out: %d %s, %s: %s", row.n, row.label, row.stage, row.reason)
    _report_identical(selected)
    _require_two_classes(scans, selected, excluded)
    return selected, excluded


def require_known(names, kept, left_out, setting):
    """Check scans that a setting names: whose own maps are asked for, or which a person has rejected.

    Parameters
    ----------
    names : iterable of str, scan_id
    kept, left_out : DataFrames with scan_id (and reason): the study's scans, and what it does not use
    setting : str, for the messages

    Raises
    ------
    ConfigError : a name is that of no scan of the study; it names the nearest. A scan that is known but left out is
        logged only.
    """
    left_out = left_out.dropna(subset=["scan_id"]).drop_duplicates("scan_id").set_index("scan_id")["reason"]
    known = list(kept["scan_id"])
    for name in names:
        if name in known:
            continue
        if name not in left_out:
            near = difflib.get_close_matches(name, [*known, *left_out.index], n=1)
            raise ConfigError(
                f"{setting} names a scan that the study does not have",
                found=name,
                allowed="a scan_id of cohort/scans.tsv",
                hint=f"did you mean {near[0]}?" if near else None,
            )
        log.warning("%s names %s, which is left out (%s)", setting, name, left_out[name])


def exclusion_counts(excluded):
    """Number of excluded rows by stage, reason and class (label "unknown" where the row has none).

    Atrophied brains fail more often: a reader must see whether one class lost more than the other.

    Returns
    -------
    DataFrame with stage, reason, label, n
    """
    known = excluded.assign(label=excluded["label"].fillna("unknown"))
    return known.groupby(["stage", "reason", "label"], sort=True).size().rename("n").reset_index()


def _maps_hash(maps):
    """One hash of all images made beside a registered scan; None where there are none."""
    if not maps:
        return None
    return hashlib.sha256(" ".join(f"{name} {maps[name]['hash']}" for name in sorted(maps)).encode()).hexdigest()


def _fault(quality, limits):
    if quality["status"] != "ok":
        # Reasons are counted, so what differs from scan to scan goes into the detail.
        reason, _, detail = quality["reason"].partition(": ")
        return {"stage": "register_scan", "reason": reason, "detail": detail or None}
    for figure, limit in limits.items():
        value, upper = quality[figure], figure in _UPPER
        if value is not None and (value > limit if upper else value < limit):
            reason = f"{figure} {'above' if upper else 'below'} {limit:g}"
            return {"stage": "select_scans", "reason": reason, "detail": f"{figure} {value:.3f}"}
    return None


def _report_identical(selected):
    for _, same in selected.groupby("voxel_hash", sort=True):
        if same["subject_id"].nunique() > 1:
            log.warning("identical images in different subjects: %s", ", ".join(same["scan_id"]))


def _require_two_classes(scans, selected, excluded):
    left = sorted(selected["label"].unique())
    if len(left) < 2:
        reasons = excluded.loc[excluded["stage"] != "parse_tables", "reason"].value_counts()
        raise InputError(
            "fewer than two classes are left after registration",
            column="label",
            found=left,
            allowed=f"at least one scan of each of two classes; the cohort had {sorted(scans['label'].unique())}",
            hint="; ".join(f"{n} scans: {reason}" for reason, n in reasons.items()) or "see cohort/dropped.tsv",
        )
