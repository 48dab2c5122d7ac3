"""Alternative texts of the figures: what is seen in them, for those who cannot see them."""

from __future__ import annotations

import re

from voxelwhy.io.text import listing, method_name

#: What a figure shows, by the beginning of its file name; the first match counts.
SEEN = {
    "flow": "Flow chart from the rows of the table to the scans used, with the reasons of exclusions.",
    "registration": "Contact sheet of registered scans with the outline of the template, the worst first.",
    "quality": "Dots, one for each scan, in two panels: correlation with the template and overlap of the brain masks, "
    "in one row for each class, with the median as a bar.",
    "metrics": "Points with 95 % intervals of accuracy, sensitivity, specificity and AUC, network above baseline.",
    "roc": "ROC curves of network and baseline over the diagonal that chance gives.",
    "confusion": "Matrix of diagnoses against predictions with the number of cases in each field.",
    "learning_curves": "Curves of loss and accuracy over epochs, one for each fold, in training and validation.",
    "clinical": "Three panels: calibration curve next to the diagonal, net benefit over thresholds, and AUC by stratum "
    "with intervals.",
    "shortcuts": "Points with intervals, one row for each property: how far the score follows it.",
    "headline": "Slices of the template in two rows, one for each class, with mean relevance in hot colours.",
    "heatmaps": "Slices of the template in rows and methods in columns, with mean relevance in hot colours.",
    "baseline_map": "Slices of the template in rows; weights and pattern of the baseline in columns, in hot colours.",
    "class_regions": "Points with intervals, one row for each region and a panel for each method: difference of "
    "relevance between the classes.",
    "regions": "Points with intervals, one row for each region and a panel for each method: enrichment of relevance.",
    "agreement": "Bars and a matrix: distance between the maps of the classes, and correlation between methods.",
    "saturation": "Bars, one for each group of scans: share of saturated probabilities.",
    "truth_map": "Slices of the template with the planted change of volume in colour.",
    "truth_scores": "Points, one row for each method: agreement with the planted truth, next to the range of shuffled "
    "diagnoses.",
    "truth_cam": "Maps of Grad-CAM next to what its cells could show at most.",
    "faithfulness": "Curves of the score while regions are blanked, one panel for each method: most relevant first, "
    "least relevant first, and random orders.",
    "randomised": "Curves, one for each method: similarity of maps to the original over the number of reset layers.",
    "stability": "A matrix of correlations between trainings for each method, and the ranks of the first regions.",
    "external": "Points with intervals, one row for each cohort: accuracy and AUC of the same models.",
}
SCAN = "Slices of one registered scan in rows and methods in columns, with its relevance in hot colours."


def describe_figure(stem, *, category="", regions=None):
    """What is seen in a figure.

    Parameters
    ----------
    stem : str, its file name without ending
    category : str, the section of the report
    regions : {group: {method: names of the regions with the most relevance}}, for maps of a group

    Returns
    -------
    str, one or two sentences; "" for a figure of an unknown kind
    """
    if category == "single_scans":
        return SCAN
    kind = next((kind for kind in SEEN if re.match(rf"{kind}(?:_|$)", stem)), None)
    if kind is None:
        return ""
    group = stem.removeprefix(f"{kind}_")
    strongest = (regions or {}).get(group, {}) if kind in ("heatmaps", "regions") else {}
    named = "; ".join(
        f"{method_name(method)} {listing(name.replace('_', ' ') for name in names)}"
        for method, names in strongest.items()
        if names
    )
    return SEEN[kind] + (f" Most relevance: {named}." if named else "")
