"""Settings, groups and methods in words: the same term in every figure, table and sentence."""

from __future__ import annotations

from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.io.text import BASELINE_TITLES, count, listing, method_title

METRIC_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "AUC",
}
#: Column of tables, if there are several folds; figures do not show it.
POOLED_TITLES = {"auc_pooled": "AUC (pooled)"}
#: What the intervals of accuracy and AUC are, for captions.
INTERVALS = (
    "The 95 % intervals are over subjects, given these networks; networks trained again would differ in addition. They "
    "are Wilson's for proportions, square-and-add for balanced accuracy, and score-like for the AUC."
)
FOLDS_OF_AUC = "AUC: within folds, over pairs of a positive and a negative case that the same model classified"
GROUP_TITLES = {
    "all": "all explained scans",
    "TP": "true positives",
    "FP": "false positives",
    "TN": "true negatives",
    "FN": "false negatives",
}
ONE_LOGIT = ("korolev2017", "small_dataset")  # networks with one logit; all others have two
OPTIMISERS = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
SCHEDULES = {"one_cycle": "one-cycle schedule", "cosine": "cosine schedule"}
MASKS = {"brain": "the template's brain", "grey_white": "the template's grey and white matter"}
TRANSFORMS = {"syn_quick": "SyNQuick", "syn_cc": "SyN (local cross-correlation)"}
NORMALISATIONS = {"voxelwise_sd": "voxelwise by the SD, without subtracting the mean", "scan": "within each scan"}
KEPT = {"last": "the last epoch", "best_validation": "the epoch with the lowest validation loss"}
UNITS = {"size_mm": "mm cube", "stride_mm": "mm stride"}


def has_folds(metrics):
    """Whether a table by the METRICS schema is of several folds, so that their AUC is not the pooled one."""
    return metrics.loc[metrics["fold"] != "all", "fold"].nunique() > 1


def name_auc(metrics):
    """The AUC at its first mention: "AUC within folds", or "AUC" if there is a single fold."""
    return "AUC within folds" if has_folds(metrics) else "AUC"


def describe_auc(metrics, *, pooled=False):
    """Which pairs the AUC compares, and with `pooled` the one of all pairs, for captions; empty for a single fold."""
    of_all = "; pooled: over all pairs, although the outputs of different models have different zeros" * pooled
    return f"{FOLDS_OF_AUC}{of_all}. " if has_folds(metrics) else ""


def group_title(group):
    """A group of scans in words, such as "true positives" or "AD scans"."""
    return GROUP_TITLES.get(group, f"{group} scans")


def describe_method(name, options):
    """A method with its settings: "Occlusion (40 mm cube, 20 mm stride, occlusion value 0)"."""
    parts = [
        f"{value} {UNITS[key]}" if key in UNITS else f"{key.replace('_', ' ')} {value}"
        for key, value in (options or {}).items()
    ]
    return method_title(name) + (f" ({', '.join(parts)})" if parts else "")


def describe_repeats(repeated):
    """What differs between repeats: "each with different folds and initial weights"."""
    words = {"seed": "different folds and initial weights", "simulation.seed": "a different cohort"}
    return "each with " + listing([words[setting] for setting in repeated])


def describe_disease(simulation):
    """Describe how the disease was planted in a simulated cohort, or what defines the classes instead.

    Parameters
    ----------
    simulation : dict, the section `simulation`; keys that it lacks are not described
    """
    if simulation.get("signal"):
        return describe_signal(simulation["signal"])
    contrast = simulation.get("contrast", 0) * simulation.get("effect", 1)
    changed = (
        f"in addition, the contrast between grey and white matter changed by {100 * contrast:+g} % at severity 1"
        if contrast
        else "no image intensity was reduced"
    )
    text = f"Disease was planted as tissue loss by deformation, with known volume changes; {changed}."
    subtypes = simulation.get("subtypes", {})
    whole = sum(subtype["share"] for subtype in subtypes.values())
    named = [f"{name} {100 * subtype['share'] / whole:.0f} %" for name, subtype in subtypes.items()]
    return text + f" The disease had {len(named)} subtypes ({listing(named)})." * (len(named) > 1)


def name_truth(planted):
    """What the methods of a simulated study are to detect: "planted atrophy"; the structure that defines the classes.

    Parameters
    ----------
    planted : bool, or str; a str names the structure whose volume defines the classes
    """
    return planted.replace("_", " ") if isinstance(planted, str) else "planted atrophy"


def describe_signal(structure):
    """Describe a simulated cohort whose classes are defined by the volume of a structure."""
    return (
        "Nobody has a disease. A subject was classed as small or large by whether the volume of one structure "
        f"({structure.replace('_', ' ')}), relative to head size and age, lies below the median of the cohort; apart "
        "from this, the classes differ by chance alone."
    )


def describe_planted(choices):
    """What the methods of simulated studies are compared with, given the columns of the compared choices."""
    other = any(name.rpartition(".")[2] == "effect" for name in choices)
    return "the planted atrophy" + " (for effect 0, the atrophy that effect 1 would have planted)" * other


def describe_target(settings, *, single=False):
    """What the relevance explains, from the heatmap settings: "probability of the positive class".

    `single` is whether it is the map of a single scan, which explains the predicted class unless the config says true.
    """
    target = settings.get("target", "positive")
    named = {"predicted": "the predicted class", "true": "the true class"}
    explained = named.get("predicted" if single and target == "positive" else target, "the positive class")
    return f"{settings.get('output', 'probability')} of {explained}"


def describe_registration(settings):
    """The registration settings in words: "with ANTs (affine transform, after N4 bias field correction, 3 mm)"."""
    if settings.get("transform") == "none":
        size = settings.get("resolution_mm", "?")
        if settings.get("grid") == "scans":
            return f"before the study (their grid of {size} mm is that of the study)"
        return f"before the study (only the {size} mm grid was checked)"
    transform = settings.get("transform", "syn_quick")
    n4 = "after N4 bias field correction" if settings.get("n4") else "without N4 bias field correction"
    return (
        f"with ANTs ({TRANSFORMS.get(transform, transform)} transform, {n4}, {settings.get('resolution_mm', '?')} mm)"
    )


def describe_loss(settings):
    """The loss that follows from the training settings: "binary cross-entropy, with balanced class weights"."""
    balanced = ", with balanced class weights" if settings.get("class_weights") == "balanced" else ""
    if ":" in str(settings.get("network")):  # the user's own: its number of logits is known only once it is built
        return "cross-entropy (binary, if the network has one logit)" + balanced
    return ("binary " if settings.get("network") in ONE_LOGIT else "") + "cross-entropy" + balanced


def describe_augmentation(settings):
    """The augmentation of the training settings as a sentence; empty if there is none."""
    chosen = settings.get("augmentation") or {}
    words = {
        "flip": "left and right were exchanged with probability {}",
        "shift_mm": "scans were shifted by up to {} mm along each axis",
        "intensity": "intensities were multiplied by a log-normal factor (SD of its logarithm {})",
    }
    parts = [words[key].format(value) for key, value in chosen.items() if value]
    return f"Training scans were augmented at random in each epoch: {listing(parts)}. " if parts else ""


def describe_mask(settings):
    """What the network of the training settings sees: "the template's grey and white matter"."""
    mask = settings.get("mask", "brain")
    return MASKS.get(mask, f"the mask {mask}")


def describe_normalisation(settings):
    """The normalisation of the training settings: "voxelwise"."""
    return NORMALISATIONS.get(settings.get("normalisation"), settings.get("normalisation"))


def describe_settings(settings):
    """The heatmap settings in sentences: what the relevance explains, and each method with its options."""
    methods = "; ".join(describe_method(name, options) for name, options in settings["methods"].items())
    return f"Relevance explains the {describe_target(settings)}{describe_clipping(settings)}. Methods: {methods}."


def describe_clipping(settings):
    """That negative relevance does not count in means, for a target that differs between scans."""
    return (
        "" if settings.get("target", "positive") == "positive" else "; negative relevance is set to 0 before averaging"
    )


def describe_baseline(how):
    """The baseline with its settings: "voxelwise linear SVM (scans smoothed with 10 mm FWHM)"."""
    title = BASELINE_TITLES[how["kind"]]
    if how["kind"] != "voxelwise":
        return f"{title} of regional means"
    width = how["smoothing_mm"]
    return f"{title} (scans {f'smoothed with {width:g} mm FWHM' if width else 'not smoothed'})"


def describe_baseline_maps(card):
    """What the two maps of the baseline are, given the JSON of one of them."""
    feature = "smoothed voxel" if card["baseline"]["kind"] == "voxelwise" else "standardised regional mean"
    channels = "summed over channels, " * (len(card["channels"]) > 1)
    return (
        f"Weights: the absolute weight of each {feature}. Pattern: the absolute covariance of each {feature} with the "
        f"decision value, divided by the variance of the decision value (Haufe et al. 2014). Both are {channels}scaled "
        "to a sum of 1 inside the brain in each fold, and averaged over folds. Weights are not patterns: a classifier "
        "also gives weight to a place without disease if this cancels the noise of other places. The pattern shows "
        "where scans vary with the decision value."
    )


def describe_other(card):
    """An imported map and what is known about it: "Occlusion (maps.npz, array ad; 30 subjects, 40 scans)"."""
    named = [count(card[key], noun) for key, noun in (("n_subjects", "subject"), ("n_scans", "scan")) if card[key]]
    source = card["file"] + (f", array {card['array']}" if card["array"] else "")
    parts = [source, ", ".join(named) or "n not given", *([card["note"]] if card["note"] else [])]
    return f"{method_title(card['name'])} ({'; '.join(parts)})"


def of_baseline(methods):
    """Which names in a Series of methods are those of maps of the baseline, rather than of a network."""
    return methods.isin([f"baseline_{kind}" for kind in BASELINE_MAPS])
