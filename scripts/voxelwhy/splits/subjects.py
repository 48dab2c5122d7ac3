"""Subjects: the unit that never crosses folds and that statistics resample."""

from __future__ import annotations

from voxelwhy.errors import InputError


def subject_classes(scans, classes):
    """The class of each subject: positive with any positive scan.

    Parameters
    ----------
    scans : DataFrame with subject_id and label, one row a scan
    classes : {"positive": name, "negative": name}

    Returns
    -------
    Series of class names by subject_id, in the order in which the subjects first appear

    Raises
    ------
    InputError : a label that is not one of `classes`.
    """
    known = [classes["positive"], classes["negative"]]
    strange = scans.loc[~scans["label"].isin(known)]
    if len(strange):
        raise InputError(
            f"scan {strange['scan_id'].iloc[0]} has a label of no class",
            column="label",
            found=strange["label"].iloc[0],
            allowed=known,
        )
    positive = (scans["label"] == classes["positive"]).groupby(scans["subject_id"], sort=False).any()
    return positive.map({True: classes["positive"], False: classes["negative"]})
