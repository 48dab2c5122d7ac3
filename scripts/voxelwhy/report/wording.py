"""Words and numbers for people: one name for one thing in every figure, table and sentence."""

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
METRIC_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "AUC",
}
GROUP_TITLES = {
    "all": "all explained scans",
    "TP": "true positives",
    "FP": "false positives",
    "TN": "true negatives",
    "FN": "false negatives",
}
ONE_LOGIT = ("korolev2017", "small_dataset")  # networks with one logit; all others have two
OPTIMISERS = {"adam": "Adam", "rmsprop": "RMSprop"}
MASKS = {"brain": "the template's brain", "grey_white": "the template's grey and white matter"}
NORMALISATIONS = {"voxelwise_sd": "voxelwise by the SD alone"}
#: What patients have by a confound of simulated data, by its strength.
CONFOUND_WORDS = {
    "head_position.pitch_deg": lambda x: f"heads pitched by {abs(x):g}° (chin {'up' if x > 0 else 'down'})",
    "head_position.shift_mm": lambda x: (
        f"heads {abs(x):g} mm {'farther from' if x > 0 else 'nearer to'} the feet's end"
    ),
    "bias_field": lambda x: f"scans brighter towards the {'feet' if x > 0 else 'crown'} (bias field {abs(x):g})",
    "age": lambda x: f"{abs(x):g} years {'more' if x > 0 else 'less'} of age",
    "noise": lambda x: f"{abs(100 * x):g} % {'more' if x > 0 else 'less'} noise",
}
UNITS = {"size_mm": "mm cube", "stride_mm": "mm stride"}


def method_title(name):
    """The method's name as people write it; an unknown one has its underscores removed."""
    return METHOD_TITLES.get(name, name.replace("_", " ").capitalize())


def method_name(name):
    """The method's name inside a sentence: in small letters, unless it is a proper name."""
    title = method_title(name)
    return title if "-" in title else title[0].lower() + title[1:]


def group_title(group):
    """A group of scans in words: a class keeps its name."""
    return GROUP_TITLES.get(group, f"{group} scans")


def describe_method(name, options):
    """A method with its settings: "Occlusion (40 mm cube, 20 mm stride, occlusion value 0)"."""
    parts = [
        f"{value} {UNITS[key]}" if key in UNITS else f"{key.replace('_', ' ')} {value}"
        for key, value in (options or {}).items()
    ]
    return method_title(name) + (f" ({', '.join(parts)})" if parts else "")


def describe_repeats(repeated):
    """What differs from repeat to repeat, in words."""
    words = {"seed": "other folds and initial weights", "simulation.seed": "another cohort"}
    return "each with " + listing([words[setting] for setting in repeated])


def describe_planted(choices):
    """What methods of simulated studies are held against, by the columns of the choices that were compared."""
    other = any(name.rpartition(".")[2] == "effect" for name in choices)
    return "the planted atrophy" + " (of effect 0 that which effect 1 would plant)" * other


def describe_target(settings):
    """What the relevance explains, from the heatmap settings: "probability of the predicted class"."""
    target = {"predicted": "the predicted class", "true": "the true class"}
    explained = target.get(settings.get("target", "predicted"), "the positive class")
    return f"{settings.get('output', 'probability')} of {explained}"


def describe_registration(settings):
    """The registration settings in words: "with ANTs: affine transform, without N4 bias field correction, 3 mm"."""
    if settings.get("transform") == "none":
        return f"before the study and only checked to lie on its grid, {settings.get('resolution_mm', '?')} mm"
    transform = str(settings.get("transform", "syn_quick")).replace("_", " ")
    n4 = "after N4 bias field correction" if settings.get("n4") else "without N4 bias field correction"
    return f"with ANTs: {transform} transform, {n4}, {settings.get('resolution_mm', '?')} mm"


def describe_loss(settings):
    """The loss that follows from the training settings: "binary cross-entropy, classes balanced by weights"."""
    balanced = ", classes balanced by weights" if settings.get("class_weights") == "balanced" else ""
    if ":" in str(settings.get("network")):  # of the user's own: how many logits it has shows when it is built
        return "cross-entropy (binary, if the network has one logit)" + balanced
    return ("binary " if settings.get("network") in ONE_LOGIT else "") + "cross-entropy" + balanced


def describe_augmentation(settings):
    """The augmentation of the training settings as a sentence, or nothing where there is none."""
    chosen = settings.get("augmentation") or {}
    words = {
        "flip": "left and right exchanged with probability {}",
        "shift_mm": "shifted by up to {} mm along each axis",
        "intensity": "intensities multiplied by a factor whose logarithm has SD {}",
    }
    parts = [words[key].format(value) for key, value in chosen.items() if value]
    return f"Training scans were changed at random each time they were seen: {listing(parts)}. " if parts else ""


def describe_mask(settings):
    """What the network of the training settings sees: "the template's grey and white matter"."""
    mask = settings.get("mask", "brain")
    return MASKS.get(mask, f"the mask {mask}")


def describe_normalisation(settings):
    """The normalisation of the training settings: "voxelwise by the SD alone"."""
    return NORMALISATIONS.get(settings.get("normalisation"), settings.get("normalisation"))


def describe_settings(settings):
    """The heatmap settings in sentences: what is explained, and each method with its options."""
    methods = "; ".join(describe_method(name, options) for name, options in settings["methods"].items())
    return f"Relevance for the {describe_target(settings)}. {methods}."


def describe_confounds(confounds):
    """What was planted beside the disease, which and how strong; "" for none.

    Parameters
    ----------
    confounds : dict, the section simulation.confounds, or strengths by dotted name as simulation/confounds.tsv has them
    """
    head = confounds.get("head_position", {})
    strengths = {f"head_position.{key}": value for key, value in head.items()} | confounds
    words = [how(x) for name, how in CONFOUND_WORDS.items() if (x := float(strengths.get(name, 0)))]
    planted = "a confound was planted" if len(words) == 1 else f"{len(words)} confounds were planted"
    return f"{planted}: patients have {listing(words)}" if words else ""


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


def describe_other(card):
    """A map of others with what is known of it: "Occlusion (maps.npz, array ad; 30 subjects, 40 scans)"."""
    named = [count(card[key], noun) for key, noun in (("n_subjects", "subject"), ("n_scans", "scan")) if card[key]]
    source = card["file"] + (f", array {card['array']}" if card["array"] else "")
    parts = [source, ", ".join(named) or "n not given", *([card["note"]] if card["note"] else [])]
    return f"{method_title(card['name'])} ({'; '.join(parts)})"


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
