"""The report's methods text, made from the settings, and the works to cite."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.io.channels import in_words
from voxelwhy.io.images import Grid
from voxelwhy.io.text import count, listing, people
from voxelwhy.report.wording import (
    OPTIMISERS,
    describe_augmentation,
    describe_loss,
    describe_mask,
    describe_method,
    describe_normalisation,
    describe_registration,
    describe_target,
)

_DOI = "https://doi.org/"


def methods_text(settings, *, simulated, n_subjects, n_scans, whole_heads=False):
    """The methods in sentences that state the settings: to paste into a paper, and to check against the config.

    Parameters
    ----------
    settings : dict, the whole config with its defaults filled in
    simulated : bool
    whole_heads : bool, whether the scans were taken for whole heads (cohort/skull.json)

    Returns
    -------
    list of str, one a paragraph; what the config leaves out is left out
    """
    cohort = f"{n_subjects} subjects with {n_scans} scans were used."
    if simulated:
        cohort = (
            f"The data are simulated: {n_subjects} subjects with {n_scans} scans were made from the ICBM152 "
            "template; disease is tissue "
            "loss by deformation, planted with known volume changes, and no image intensity was dimmed."
        )
        if planted := describe_confounds(settings.get("simulation", {}).get("confounds", {})):
            cohort += f" Beside the disease, {planted}; what they came to stands in simulation/confounds.tsv."
    paragraphs = [
        cohort,
        " ".join([*_heads(settings.get("scans", {}), whole_heads), _registration(settings.get("registration", {}))]),
        _weights(settings) or _training(settings.get("training", {}), settings.get("splits", [])),
        _heatmaps(settings.get("heatmaps", {}), settings.get("atlas", {}), _brought(settings)),
        _evaluation(settings.get("evaluation", {}), simulated),
    ]
    return [text for text in paragraphs if text]


def _heads(settings, whole_heads):
    if "extract" in settings:
        return [f"Brains were extracted from whole heads by the command {settings['extract']!r}."]
    if whole_heads:
        return [
            "The scans are whole heads: they were registered to the whole-head ICBM152 template, and what lies outside "
            "the template's brain mask was left out."
        ]
    return []


def _registration(settings):
    if not settings:
        return ""
    how = describe_registration(settings)
    if settings.get("transform") == "none":
        return f"Each scan was registered to the ICBM152 template {how}."
    grid = Grid.named(settings.get("grid", "icbm"), settings["resolution_mm"])
    return (
        f"Each scan was registered onto the ICBM152 template on a grid of {' x '.join(map(str, grid.shape))} "
        f"voxels: {how}; in one thread and hence reproducibly."
    )


def _training(settings, splits):
    if not settings:
        return ""
    named = listing([_split(split) for split in splits]) if splits else "the study's folds"
    optimiser = OPTIMISERS[settings.get("optimiser", "adam")]
    inside = f"options of the network {settings['options'] or 'none'}" if "options" in settings else None
    inside = inside or f"dropout {settings.get('dropout')}"
    return (
        f"The network {settings.get('network')} was trained on {named}; subjects never cross folds. It saw "
        f"{in_words(settings.get('channels', ['t1']))} of each scan. Outside "
        f"{describe_mask(settings)} its input was 0. Optimiser {optimiser}, learning rate "
        f"{settings.get('learning_rate')}, batch size {settings.get('batch_size')}, {settings.get('epochs')} epochs, "
        f"{inside}, {describe_loss(settings)}; normalisation "
        f"{describe_normalisation(settings)} from training scans only, crop {settings.get('crop')}; weights kept: "
        f"{str(settings.get('keep')).replace('_', ' ')}. "
        f"{describe_augmentation(settings)}The baseline is a linear model on regional means, on the same folds."
    )


def _brought(settings):
    """The section `model` of a config that brings weights; one that only names an architecture is trained."""
    model = settings.get("model", {})
    return model if "weights" in model else {}


def _weights(settings):
    """In the place of the training, where the config brings weights."""
    if not (model := _brought(settings)):
        return ""
    training, named = settings.get("training", {}), model.get("normalisation")
    learnt = f"learnt from the training scans of the split {named} ({training.get('normalisation')})"
    kinds = {None: "as stored with the weights", "scan": "scan", "none": "none"}
    how = kinds.get(named, f"that of {Path(named or '').name}" if str(named).endswith(".npz") else learnt)
    text = (
        f"The network {training.get('network')} was not trained by this study: its weights are those of "
        f"{Path(model['weights']).name}. Normalisation {how}; crop {training.get('crop')}. "
    )
    if (split := model.get("trained_on")) is None:
        return text + (
            "Where these weights were trained is not known, so no accuracy is given: every scan may be one that the "
            "network has seen, and all selected scans were explained."
        )
    kind = next((_split(s) for s in settings.get("splits", []) if s.get("name", s.get("kind")) == split), split)
    return text + (
        f"They are taken, as the config says, to have been trained on the training scans of the split {split} ({kind}) "
        "and on no others: if that is so, the accuracy on its test scans is out of sample. The baseline is a linear "
        "model on regional means, trained on those training scans."
    )


def _split(split):
    kind = split.get("kind", "kfold")
    if kind == "kfold":
        return f"{split.get('folds', 5)} stratified folds"
    return {"holdout": "a stratified holdout", "paper_holdout": "the holdout of Rieke et al. 2018"}.get(kind, kind)


def _heatmaps(settings, atlas, model=None):
    if not settings:
        return ""
    described = listing([describe_method(name, options) for name, options in settings.get("methods", {}).items()])
    explained = (
        "Scans were explained by these weights"
        if model
        else "Test scans were explained by the network of their own fold"
    )
    most = settings.get("most_subjects")
    limited = f" Of each class {count(most, 'subject')} at most were explained, drawn at random." if most else ""
    return (
        f"{explained}, for the {describe_target(settings)}: "
        f"{described}.{limited} Relevance was summed "
        f"over the regions of {atlas.get('name', 'AAL')}{', left and right as one' * atlas.get('merge_sides', False)}, "
        "brought to the grid through the affines with nearest neighbour; means over "
        "subjects have bootstrap intervals."
    )


def _evaluation(settings, simulated):
    text = (
        f"Intervals are percentiles (2.5, 97.5) over {settings.get('bootstrap', 1000):,} bootstrap resamples of "
        "subjects, all scans of a "
        "subject together."
    )
    if simulated:
        draws = settings.get("shuffled", 0)
        beside = f", against {draws} draws of the same networks trained on shuffled diagnoses" if draws else ""
        text += (
            f" Truth is an absolute log-Jacobian of the disease above {settings.get('truth_threshold', 0.02)}; a "
            "region is truth when its mean "
            "is. A method found the atrophy when its regional AUPRC lay above the 95th percentile of "
            f"{settings.get('permutations', 10_000):,} permutations of the regions, left and right moving together, "
            f"with a Holm-corrected p below 0.05{beside}."
        )
    return text


def external_text(audits):
    """The paragraph on other cohorts that the models were tested on.

    Parameters
    ----------
    audits : list of dict, audit.json of each split on another cohort: tested, counts

    Returns
    -------
    list of str, one paragraph or none
    """
    if not audits:
        return []
    named = []
    for audit in audits:
        models = count(audit["tested"]["n_models"], "model")
        people_there = people(audit["counts"]["subjects"], audit["counts"]["scans"])
        named.append(f"the {models} of {audit['tested']['split']} on {audit['tested']['cohort']} ({people_there})")
    return [
        f"Other cohorts were a further test: {listing(named)}. Their scans were registered to the same template in "
        "the same way. They share no subject and no image with this study, and no model learnt anything from them: "
        "each scan was normalised as the training scans of each model were, then judged and explained by each model. "
        "Intervals resample their subjects. Heatmaps of another cohort are not held against a planted truth."
    ]
