"""Subjects: all scans of a subject stay in one fold, and statistics resample subjects."""

from __future__ import annotations

from voxelwhy.errors import InputError


def subject_classes(scans, classes):
    """Return the class of each subject: positive if any of its scans is.

    Parameters
    ----------
    scans : DataFrame with subject_id and label, one row for each scan
    classes : {"positive": name, "negative": name}

    Returns
    -------
    Series of class names by subject_id, in the order in which the subjects first appear

    Raises
    ------
    InputError : a label is not one of `classes`.
    """
    known = [classes["positive"], classes["negative"]]
    strange = scans.loc[~scans["label"].isin(known)]
    if len(strange):
        raise InputError(
            f"scan {strange['scan_id'].iloc[0]} has a label that is not a class",
            column="label",
            found=strange["label"].iloc[0],
            allowed=known,
        )
    positive = (scans["label"] == classes["positive"]).groupby(scans["subject_id"], sort=False).any()
    return positive.map({True: classes["positive"], False: classes["negative"]})
