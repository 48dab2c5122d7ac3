"""What the JSON beside a heatmap says of how it was made."""

from __future__ import annotations


def method_card(method, settings, digests, versions, *, scaled=False, **numbers):
    """The card of a map.

    Parameters
    ----------
    method : str, its name
    settings : dict, that of `study_heatmaps.explain_scans`
    digests : {fold: SHA-256 of the weights}
    versions : dict, of the software, or None
    scaled : bool, whether each scan's map was scaled so that its absolute values sum to 1
    numbers : what else is known, such as n_scans
    """
    explained = "class probability" if settings["output"] == "probability" else "logit"
    return {
        "method": method,
        "options": settings["options"],
        "explained_class": settings["target"],
        "output": settings["output"],
        "scaled": scaled,
        "units": "share of each scan's absolute relevance" if scaled else f"relevance for the {explained}",
        "models_sha256": digests,
        "versions": versions or {},
    } | numbers
