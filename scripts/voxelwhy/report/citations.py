"""Which works a study cites, given its settings."""

from __future__ import annotations

from voxelwhy.config.probes import trainings_compared
from voxelwhy.report.atlas_works import WORKS, works_of
from voxelwhy.report.works import (
    CITATIONS,
    OF_COVARIATES,
    OF_FOLDS,
    OF_REGIONS,
    OF_SCORES,
    OF_STABILITY,
    STATISTICS,
)

OF_METHOD = {
    "sensitivity_analysis": "simonyan2014",
    "guided_backprop": "springenberg2015",
    "occlusion": "zeiler2014",
    "area_occlusion": "zeiler2014",
    "grad_cam": "selvaraju2017",
    "input_x_gradient": "shrikumar2016",
    "integrated_gradients": "sundararajan2017",
    "smoothgrad": "smilkov2017",
    "lrp": "bach2015",
    "guided_grad_cam": "selvaraju2017",
    "grad_cam_plusplus": "chattopadhay2018",
}
OF_TRAINING = {
    ("optimiser", "adamw"): "loshchilov2019",
    ("schedule", "one_cycle"): "smith2019",
    ("average", "ema"): "tarvainen2017",
    ("calibrate", "temperature"): "guo2017",
}
OF_NETWORK = {
    "sfcn": ("peng2021",),
    "resnet18": ("he2016", "cardoso2022"),
    "densenet121": ("huang2017", "cardoso2022"),
}
OF_CHANNEL = {"log_jacobian": "chung2001", "grey_matter_modulated": "ashburner2000"}
_ALWAYS = ("rieke2018", "avants2011", "fonov2011", "abraham2014", "molder2021")


def reports_accuracy(settings):
    """Whether a study with these settings reports accuracy: its networks are trained, or their training is known."""
    model = settings.get("model", {})
    return "weights" not in model or "trained_on" in model


def has_several_folds(settings):
    """Whether a split of a study with these settings has several folds, so that its AUC is within folds."""
    return any(split.get("kind", "kfold") == "kfold" for split in settings.get("splits", []))


#: All works by their keys.
WORKS_BY_KEY = CITATIONS | WORKS | STATISTICS | OF_FOLDS | OF_SCORES | OF_COVARIATES | OF_REGIONS | OF_STABILITY


def choose_citations(settings, *, simulated):
    """The works that a study with these settings builds on, alphabetically, as (text, link) pairs.

    Parameters
    ----------
    settings : dict, the whole config
    simulated : bool
    """
    keys = set(_ALWAYS) | (set(STATISTICS) if reports_accuracy(settings) else {"hall1992"})
    if reports_accuracy(settings) and has_several_folds(settings):
        keys |= set(OF_FOLDS)
    keys |= {OF_METHOD[name] for name in settings.get("heatmaps", {}).get("methods", {}) if name in OF_METHOD}
    keys |= set(works_of(settings.get("atlas", {}).get("name", "AAL")))
    training = settings.get("training", {})
    keys |= set(OF_NETWORK.get(training.get("network"), ()))
    keys |= {OF_CHANNEL[name] for name in training.get("channels", ()) if name in OF_CHANNEL}
    if "weights" not in settings.get("model", {}):
        keys |= {work for (key, value), work in OF_TRAINING.items() if training.get(key) == value}
        keys |= {"lakshminarayanan2017"} if training.get("seeds", 1) > 1 else set()
    if settings.get("registration", {}).get("n4"):
        keys.add("tustison2010")
    keys |= set(_of_baseline(settings))
    if settings.get("trust", {}).get("planted"):
        keys |= {"karacali2006", "adebayo2018", "westfall1993", "winkler2014"}
    if simulated:
        keys |= {"karacali2006"} | ({"siegel2025"} if settings.get("simulation", {}).get("signal") else set())
    if settings.get("evaluation", {}).get("shuffled") and "weights" not in settings.get("model", {}):
        keys |= {"adebayo2018", "westfall1993", "winkler2014"}
    keys |= set(OF_SCORES) if reports_accuracy(settings) else set()
    if reports_accuracy(settings) and settings.get("cohort", {}).get("covariates"):
        keys |= set(OF_COVARIATES)
    if compares_regions(settings):
        keys |= {*OF_REGIONS, "westfall1993", "winkler2014"}
    if "trust" in settings and trainings_compared(settings):
        keys |= set(OF_STABILITY)
    return sorted(WORKS_BY_KEY[key] for key in keys)


def compares_regions(settings):
    """Whether relevance of patients is compared with that of controls: maps of both must explain the same class."""
    heatmaps = settings.get("heatmaps", {})
    return bool(heatmaps.get("methods")) and heatmaps.get("target", "positive") == "positive"


def _of_baseline(settings):
    """Keys of the works behind the baseline; a study of weights with unknown training data has no baseline."""
    model, kind = settings.get("model", {}), settings.get("evaluation", {}).get("baseline")
    if kind is None or ("weights" in model and "trained_on" not in model):
        return ()
    return ("haufe2014", "bron2021") if kind == "voxelwise" else ("haufe2014",)
