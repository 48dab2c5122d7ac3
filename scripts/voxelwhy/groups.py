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
