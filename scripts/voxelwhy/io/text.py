"""Numbers, lists and names in words, written in the same way in every figure, table and message."""

from __future__ import annotations

import math

METHOD_TITLES = {
    "sensitivity_analysis": "Sensitivity analysis",
    "guided_backprop": "Guided backpropagation",
    "occlusion": "Occlusion",
    "area_occlusion": "Area occlusion",
    "grad_cam": "Grad-CAM",
    "input_x_gradient": "Input x gradient",
    "integrated_gradients": "Integrated gradients",
    "smoothgrad": "SmoothGrad",
    "lrp": "LRP",
    "guided_grad_cam": "Guided Grad-CAM",
    "grad_cam_plusplus": "Grad-CAM++",
}
BASELINE_TITLES = {
    "logistic_regression": "logistic regression",
    "linear_svm": "linear SVM",
    "voxelwise": "voxelwise linear SVM",
}


def method_title(name):
    """Return the name of a method as it is usually written; in an unknown name underscores become spaces."""
    return METHOD_TITLES.get(name, name.replace("_", " ").capitalize())


def method_name(name):
    """Return the name of a method inside a sentence: in lower case, unless it is a proper name."""
    title = method_title(name)
    first = title.split()[0]
    return title[0].lower() + title[1:] if first == first.capitalize() else title


def count(number, noun, plural=None):
    """Write a number with its noun: "1 scan", "2 scans"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def people(n_subjects, n_scans, of=""):
    """Write the n of a figure: "40 subjects, 60 scans", with `of` (see `of_cohort`) for those of another study."""
    return f"{count(n_subjects, 'subject')}, {count(n_scans, 'scan')}{of}"


def judged_by(split, n_models):
    """State which models classify the scans of another study: "each classified by each of the 5 models of kfold"."""
    return "each classified by " + (
        f"each of the {n_models} models of {split}" if n_models > 1 else f"the model of {split}"
    )


def of_cohort(cohort, split, n_models):
    """State the cohort of scans and their models: " of the cohort oasis1, each classified by the model of holdout"."""
    return f" of the cohort {cohort}, {judged_by(split, n_models)}"


def duration(seconds):
    """Write seconds in a suitable unit: '40 s', '3 min', '2.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value, digits=2):
    """Write a figure with fixed decimals, never "-0.00"; a dash if it is undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"


def interval(value, low, high, digits=2):
    """Write a figure with its 95 % interval: "0.82 (0.71 to 0.91)"; without a known interval, the figure alone."""
    if not math.isfinite(value):
        return "not defined"
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def p_value(p):
    """Write a p value, never as 0: "p = 0.031" or "p < 0.001"."""
    if not math.isfinite(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def listing(words):
    """Join words as a list in a sentence: "a, b and c"."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
