"""Words and numbers for people: one name for one thing in every figure, table and sentence."""

from __future__ import annotations

from voxelwhy.io.text import count, listing, method_title

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
UNITS = {"size_mm": "mm cube", "stride_mm": "mm stride"}


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


def describe_other(card):
    """A map of others with what is known of it: "Occlusion (maps.npz, array ad; 30 subjects, 40 scans)"."""
    named = [count(card[key], noun) for key, noun in (("n_subjects", "subject"), ("n_scans", "scan")) if card[key]]
    source = card["file"] + (f", array {card['array']}" if card["array"] else "")
    parts = [source, ", ".join(named) or "n not given", *([card["note"]] if card["note"] else [])]
    return f"{method_title(card['name'])} ({'; '.join(parts)})"
