"""Numbers, lists and names as words: one way to write each in every figure, table and message."""

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


def method_title(name):
    """The method's name as people write it; an unknown one has its underscores removed."""
    return METHOD_TITLES.get(name, name.replace("_", " ").capitalize())


def method_name(name):
    """The method's name inside a sentence: in small letters, unless it is a proper name."""
    title = method_title(name)
    return title if "-" in title else title[0].lower() + title[1:]


def count(number, noun, plural=None):
    """A number with its noun: "1 scan", "2 scans"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def people(n_subjects, n_scans, of=""):
    """The n of a figure: "40 subjects, 60 scans", and where they are another study's, `of` (`of_cohort`)."""
    return f"{count(n_subjects, 'subject')}, {count(n_scans, 'scan')}{of}"


def judged_by(split, n_models):
    """Who judges the scans of another study: "each judged by each of the 5 models of kfold"."""
    return "each judged by " + (
        f"each of the {n_models} models of {split}" if n_models > 1 else f"the model of {split}"
    )


def of_cohort(cohort, split, n_models):
    """Whose scans they are and who judges them: " of the cohort oasis1, each judged by the model of holdout"."""
    return f" of the cohort {cohort}, {judged_by(split, n_models)}"


def duration(seconds):
    """Seconds as people say them: '40 s', '3 min', '2.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value, digits=2):
    """A figure with fixed decimals, never "-0.00"; a dash where it is not defined."""
    return "–" if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"


def interval(value, low, high, digits=2):
    """A figure with its 95 % interval: "0.82 (0.71 to 0.91)"."""
    if not math.isfinite(value):
        return "not defined"
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def p_value(p):
    """A p in words that never says 0: "p = 0.031" or "p < 0.001"."""
    if not math.isfinite(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def listing(words):
    """Words as a list in a sentence: "a, b and c"."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
