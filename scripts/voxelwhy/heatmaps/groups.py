"""Groups of scans over which maps and regions are averaged: by class, and by the network's classification."""

from __future__ import annotations


def group_names(classes, *, judged=True):
    """Return the names of all groups in order: positive class, negative class, all, and, if `judged`, TP, FP, TN, FN.

    `judged` is whether scans are also grouped by correct and wrong predictions, which would disclose an accuracy.
    """
    return [classes["positive"], classes["negative"], "all", *(["TP", "FP", "TN", "FN"] if judged else [])]


def groups_of(label, probability, classes, *, judged=True):
    """Return the groups to which a scan belongs: its class, "all", and, if `judged`, one of TP, FP, TN, FN.

    `probability` is that of the positive class; from 0.5, a scan is predicted positive.

    >>> groups_of("AD", 0.5, {"positive": "AD", "negative": "CN"})
    ['AD', 'all', 'TP']
    """
    if not judged:
        return [label, "all"]
    right = (label == classes["positive"]) == (probability >= 0.5)
    return [label, "all", ("T" if right else "F") + ("P" if probability >= 0.5 else "N")]


def cells_of(classes, *, judged):
    """Return the cells of which all groups are unions: TP, FP, TN, FN, or the two classes unless `judged`."""
    return ["TP", "FP", "TN", "FN"] if judged else [classes["positive"], classes["negative"]]


def cell_of(label, probability, classes, *, judged):
    """Return the one cell to which a scan belongs."""
    cells = cells_of(classes, judged=judged)
    return next(name for name in groups_of(label, probability, classes, judged=judged) if name in cells)


def cells_in(group, classes, *, judged):
    """Return the cells of which a group is the union."""
    names = cells_of(classes, judged=judged)
    if group == "all":
        return names
    of_class = {classes["positive"]: ("TP", "FN"), classes["negative"]: ("TN", "FP")}
    return [name for name in names if name == group or name in of_class.get(group, ())]
