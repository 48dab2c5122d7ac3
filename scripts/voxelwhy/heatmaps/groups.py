"""Groups of scans over which maps and regions are averaged: by class, and by what the network made of them."""

from __future__ import annotations


def group_names(classes, *, judged=True):
    """The names of all groups in their order: positive class, negative class, all; where scans are judged by whether
    the network is right (which would be an accuracy), TP, FP, TN, FN.
    """
    return [classes["positive"], classes["negative"], "all", *(["TP", "FP", "TN", "FN"] if judged else [])]


def groups_of(label, probability, classes, *, judged=True):
    """The groups that a scan belongs to: its class, "all", and, where scans are judged, one of TP, FP, TN, FN.

    `probability` is that of the positive class; a scan is predicted positive from 0.5 upwards.

    >>> groups_of("AD", 0.5, {"positive": "AD", "negative": "CN"})
    ['AD', 'all', 'TP']
    """
    if not judged:
        return [label, "all"]
    right = (label == classes["positive"]) == (probability >= 0.5)
    return [label, "all", ("T" if right else "F") + ("P" if probability >= 0.5 else "N")]


def cells_of(classes, *, judged):
    """The kinds of scans that no group divides: TP, FP, TN, FN, or the two classes where scans are not judged."""
    return ["TP", "FP", "TN", "FN"] if judged else [classes["positive"], classes["negative"]]


def cell_of(label, probability, classes, *, judged):
    """The one cell that a scan belongs to."""
    cells = cells_of(classes, judged=judged)
    return next(name for name in groups_of(label, probability, classes, judged=judged) if name in cells)


def cells_in(group, classes, *, judged):
    """The cells of which a group is the union."""
    names = cells_of(classes, judged=judged)
    if group == "all":
        return names
    of_class = {classes["positive"]: ("TP", "FN"), classes["negative"]: ("TN", "FP")}
    return [name for name in names if name == group or name in of_class.get(group, ())]
