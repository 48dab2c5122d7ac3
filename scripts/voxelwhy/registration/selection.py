"""Select the registered scans that the study uses, and list all others with the reason for their exclusion."""

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


# Measures whose limit is a maximum rather than a minimum.
_UPPER = ("jacobian_max",)


def select_scans(scans, dropped, qualities, t1_paths, *, limits=None, skip=None):
    """Keep the scans that were registered well enough, and list all others by stage and reason.

    Parameters
    ----------
    scans, dropped : DataFrames by tables.SCANS and tables.DROPPED
    qualities : dict, scan_id to the content of its quality.json
    t1_paths : dict, scan_id to the path of its registered image
    limits : dict, optional; quality measure to the smallest value (correlation_brain, mask_dice, jacobian_min) or the
        largest (jacobian_max) with which a scan is used
    skip : dict, optional; scan_id of a scan that a person has rejected, to the reason given. Such a scan needs no
        quality. That it exists was checked when the table was read (`require_known`)

    Returns
    -------
    selected : DataFrame by tables.SELECTED, in the order of `scans`
    excluded : DataFrame by tables.EXCLUDED: the dropped rows first, then scans in the order of `scans`

    Raises
    ------
    ConfigError : `limits` names an unknown quality measure.
    InputError : a scan has no registration result (a fault of the program), the registered scans mix brains and whole
        heads, one image belongs to two subjects or two classes, or fewer than two classes are left.

    Notes
    -----
    Of identical images of one subject, the first is used.
    """
    limits, skip = dict(limits or {}), dict(skip or {})
    unknown = sorted(set(limits) - set(_FIGURES))
    if unknown:
        raise ConfigError("`limits` names an unknown quality measure", found=unknown[0], allowed=_FIGURES)
    kept, out = [], [{"stage": "parse_tables"} | row for row in dropped.to_dict("records")]
    used = [scan for scan in scans["scan_id"] if scan not in skip]
    missing = [scan for scan in used if scan not in qualities]
    if missing:
        raise InputError(f"scan {missing[0]} has no registration result", hint="run snakemake again")
    registered = {scan: qualities[scan] for scan in used if qualities[scan]["status"] == "ok"}
    # Scans that others have registered are seen through the brain mask, whether they show a head or not.
    examined = {scan: quality for scan, quality in registered.items() if quality["skull_stripped"] is not None}
    require_one_kind({scan: (q["skull_stripped"], q["scan_cm3"]) for scan, q in examined.items()})
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
    kept, copies = _without_copies(kept)
    out += copies
    selected = pd.DataFrame(kept, columns=list(SELECTED.columns))
    excluded = pd.DataFrame(out, columns=list(EXCLUDED.columns)).astype({"row": "Int64"})
    log.info("%d of %d scans are used", len(selected), len(scans))
    for row in exclusion_counts(excluded).itertuples():
        log.info("excluded: %d %s, %s: %s", row.n, row.label, row.stage, row.reason)
    _require_two_classes(scans, selected, excluded)
    return selected, excluded


def require_known(names, kept, left_out, setting):
    """Check that the scans which a setting names (for single maps, or as rejected) belong to the study.

    Parameters
    ----------
    names : iterable of str, scan_id
    kept, left_out : DataFrames with scan_id (and reason): the scans of the study, and those that it does not use
    setting : str, for the messages

    Raises
    ------
    ConfigError : the study has no scan of that name; the message suggests the closest one. A scan that is known but
        excluded is only logged.
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
        log.warning("%s names %s, which is excluded (%s)", setting, name, left_out[name])


def exclusion_counts(excluded):
    """Count the excluded rows by stage, reason and class (label "unknown" for a row without one).

    Registration of atrophied brains fails more often, so readers must see whether one class lost more scans.

    Returns
    -------
    DataFrame with stage, reason, label, n
    """
    known = excluded.assign(label=excluded["label"].fillna("unknown"))
    return known.groupby(["stage", "reason", "label"], sort=True).size().rename("n").reset_index()


def _maps_hash(maps):
    """Return one hash of all further images of a registered scan, or None if there are none."""
    if not maps:
        return None
    return hashlib.sha256(" ".join(f"{name} {maps[name]['hash']}" for name in sorted(maps)).encode()).hexdigest()


def _fault(quality, limits):
    if quality["status"] != "ok":
        # Reasons are counted, so anything specific to a scan goes into the detail.
        reason, _, detail = quality["reason"].partition(": ")
        return {"stage": "register_scan", "reason": reason, "detail": detail or None}
    for figure, limit in limits.items():
        value, upper = quality[figure], figure in _UPPER
        if value is not None and (value > limit if upper else value < limit):
            reason = f"{figure} {'above' if upper else 'below'} {limit:g}"
            return {"stage": "select_scans", "reason": reason, "detail": f"{figure} {value:.3f}"}
    return None


def _without_copies(kept):
    """The scans without those whose image is an earlier scan's of the subject, and these as rows of EXCLUDED."""
    first, different, copies = {}, [], []
    for scan in kept:
        other = first.setdefault(scan["voxel_hash"], scan)
        if other is scan:
            different.append(scan)
            continue
        for column in ("subject_id", "label"):
            if scan[column] != other[column]:
                raise InputError(
                    f"one image belongs to two {'subjects' if column == 'subject_id' else 'classes'}",
                    column=column,
                    found=f"{scan['scan_id']} ({scan[column]}, {scan['path']}) has the voxels of {other['scan_id']} "
                    f"({other[column]}, {other['path']})",
                    allowed="a different image for each scan",
                    hint="find out whose image it is, and reject the other scan with registration.skip",
                )
        facts = {name: scan[name] for name in ("scan_id", "subject_id", "session", "label")}
        reason = {"reason": "the same image as another scan", "detail": f"kept is {other['scan_id']}"}
        copies.append(facts | {"stage": "select_scans"} | reason)
    return different, copies


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
