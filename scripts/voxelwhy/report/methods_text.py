"""The methods text of the report, generated from the settings."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.config.probes import probes_maps, trainings_compared
from voxelwhy.io.channels import MODALITIES, in_words
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import count, listing, people
from voxelwhy.report.citations import compares_regions, has_several_folds, reports_accuracy
from voxelwhy.report.wording import (
    KEPT,
    OPTIMISERS,
    SCHEDULES,
    describe_augmentation,
    describe_baseline,
    describe_clipping,
    describe_disease,
    describe_loss,
    describe_mask,
    describe_method,
    describe_normalisation,
    describe_registration,
    describe_target,
    name_truth,
)
from voxelwhy.splits.covariates import CATEGORIES

WITHIN_FOLDS = (
    "The AUC is within folds: a positive and a negative case were compared only if the same network classified both, "
    "since the outputs of different networks have different zeros (Forman & Scholz 2010). Folds were weighted by their "
    "numbers of such pairs, also in the ROC curve (Fawcett 2006)."
)


def methods_text(settings, *, simulated, n_subjects, n_scans, whole_heads=False):
    """The methods as sentences that state the settings, to paste into a paper and to check against the config.

    Parameters
    ----------
    settings : dict, the whole config with its defaults filled in
    simulated : bool
    whole_heads : bool, whether the scans were treated as whole heads (cohort/skull.json)

    Returns
    -------
    list of str, one per paragraph; sections that the config does not have are skipped
    """
    evaluation = settings.get("evaluation", {})
    # Existing weights cannot be trained on other labels.
    draws = 0 if _brought(settings) else evaluation.get("shuffled", 0)
    cohort = f"The study used {count(n_scans, 'scan')} of {count(n_subjects, 'subject')}."
    if planted_in := settings.get("cohort", {}).get("truth"):
        name = settings["cohort"]["classes"]["positive"]["name"]
        cohort += f" A known loss of volume was planted in the scans of the class {name} ({planted_in})."
    if simulated:
        cohort = (
            f"The data are simulated: {count(n_scans, 'scan')} of {count(n_subjects, 'subject')} were generated from "
            f"the ICBM152 template. {describe_disease(settings.get('simulation', {}))}"
        )
        if planted := describe_confounds(settings.get("simulation", {}).get("confounds", {})):
            cohort += f" In addition to the disease, {planted}; simulation/confounds.tsv lists the resulting values."
    paragraphs = [
        cohort,
        " ".join([*_scans(settings, whole_heads), _registration(settings.get("registration", {}))]),
        _weights(settings) or _training(settings.get("training", {}), settings.get("splits", []), _modality(settings)),
        _baseline(evaluation, settings.get("training", {}).get("channels", ()), _brought(settings)),
        _heatmaps(settings.get("heatmaps", {}), settings.get("atlas", {}), _brought(settings)),
        _evaluation(
            evaluation,
            bool(simulated or planted_in),
            draws,
            accuracy=reports_accuracy(settings),
            several_folds=has_several_folds(settings),
            signal=settings.get("simulation", {}).get("signal"),
        ),
        _trust(settings),
    ]
    return [text for text in paragraphs if text]


def _modality(settings):
    return settings.get("scans", {}).get("modality", "t1w")


def _scans(settings, whole_heads):
    """What the scans show, where that needs saying."""
    if (modality := _modality(settings)) != "t1w":
        return [f"The scans are {MODALITIES[modality][0]}."]
    scans, transform = settings.get("scans", {}), settings.get("registration", {}).get("transform")
    if "extract" in scans:
        return [f"Brains were extracted from whole heads with the command {scans['extract']!r}."]
    if whole_heads and transform == "none":
        return ["The scans show whole heads; voxels outside the template's brain mask were not seen."]
    if whole_heads:
        return [
            "The scans show whole heads: they were registered to the whole-head ICBM152 template, and voxels outside "
            "the template's brain mask were excluded."
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
        f"Each scan was registered to the ICBM152 template on a grid of {' x '.join(map(str, grid.shape))} voxels "
        f"{how}. Each registration ran in one thread and is therefore reproducible."
    )


def _training(settings, splits, modality="t1w"):
    if not settings:
        return ""
    named = listing([_split(split) for split in splits]) if splits else "the study's folds"
    optimiser = OPTIMISERS[settings.get("optimiser", "adam")]
    if (schedule := SCHEDULES.get(settings.get("schedule"))) is not None:
        optimiser += f", {schedule}"
    if decay := settings.get("weight_decay"):
        optimiser += f", weight decay {decay}"
    inside = f"network options: {settings['options'] or 'none'}" if "options" in settings else None
    inside = inside or f"dropout {settings.get('dropout')}"
    if "first_pool" in settings:
        inside += f", first pool of {settings['first_pool']} voxels"
    fitted = ", estimated from training scans only" * str(settings.get("normalisation")).startswith("voxelwise")
    kept = KEPT.get(settings.get("keep"), settings.get("keep"))
    return (
        f"The network {settings.get('network')} was trained on {named}; training, validation and test scans share no "
        f"subject. Its input was the {in_words(settings.get('channels', ['t1']), modality)} of each scan. Outside "
        f"{describe_mask(settings)}, the input was set to 0. Training used the optimiser {optimiser} (learning rate "
        f"{settings.get('learning_rate')}, batch size {settings.get('batch_size')}, {settings.get('epochs')} epochs, "
        f"{inside}) and the loss {describe_loss(settings)}. Normalisation: {describe_normalisation(settings)}{fitted}; "
        f"crop: {settings.get('crop')}. The weights of {kept} were kept. {_beyond_the_paper(settings)}"
        f"{describe_augmentation(settings)}"
    ).rstrip()


def _beyond_the_paper(settings):
    """Early stopping, averaged weights, calibration and ensembles, as far as the settings ask for them."""
    sentences = []
    if (patience := settings.get("patience")) is not None:
        sentences.append(f"Training ended early if the validation loss had not fallen for {count(patience, 'epoch')}.")
    if settings.get("average") == "ema":
        sentences.append(
            "The weights were an exponential moving average over the steps (time constant: a tenth of the training)."
        )
    if settings.get("calibrate") == "temperature":
        sentences.append(
            "Logits were divided by a temperature that was fitted to the validation scans (Guo et al. 2017)."
        )
    if (seeds := settings.get("seeds", 1)) > 1:
        sentences.append(
            f"Each fold was trained {seeds} times, from different initial weights and orders of scans; probabilities "
            "and heatmaps are means over these trainings (Lakshminarayanan et al. 2017)."
        )
    return "".join(f"{sentence} " for sentence in sentences)


def _brought(settings):
    """The section `model` of a config that imports weights; a network that it only names is trained."""
    model = settings.get("model", {})
    return model if "weights" in model else {}


def _weights(settings):
    """The text that replaces that of the training if the config imports weights."""
    if not (model := _brought(settings)):
        return ""
    training, named = settings.get("training", {}), model.get("normalisation")
    learnt = f"estimated from the training scans of the split {named} ({training.get('normalisation')})"
    kinds = {None: "as stored with the weights", "scan": "scan", "none": "none"}
    how = kinds.get(named, f"that of {Path(named or '').name}" if str(named).endswith(".npz") else learnt)
    text = (
        f"The network {training.get('network')} was not trained by this study: its weights are those of "
        f"{Path(model['weights']).name}. Normalisation: {how}; crop: {training.get('crop')}. "
    )
    if (split := model.get("trained_on")) is None:
        return text + (
            "The training data of these weights are unknown, so accuracy is not reported: the network may have been "
            "trained on any of the scans, and all selected scans were explained."
        )
    kind = next((_split(s) for s in settings.get("splits", []) if s.get("name", s.get("kind")) == split), split)
    return text + (
        f"According to the config, they were trained on the training scans of the split {split} ({kind}) and on no "
        "others; if so, the accuracy on its test scans is out of sample."
    )


def _baseline(evaluation, channels, model):
    """The paragraph on the baseline; there is none if the training data of existing weights are unknown."""
    if (model and "trained_on" not in model) or "baseline" not in evaluation:
        return ""
    kind, draws = evaluation["baseline"], 0 if model else evaluation.get("shuffled", 0)
    described = describe_baseline({"kind": kind, "smoothing_mm": evaluation.get("smoothing_mm", 0)})
    sentences = [f"The baseline is a {described}, fitted on the training and validation scans of the same folds."]
    if kind == "voxelwise":
        if "t1" in channels:
            sentences.append("Before smoothing, intensities were standardised within each scan.")
        sentences.append(
            "The kernel of each channel was scaled to a mean square norm of 1 over the scans of a fit, and C was "
            "chosen among 0.1, 1 and 10 by cross-validation within these scans. Bron et al. (2021) compare such a "
            "classifier with a network."
        )
    sentences.append(
        "It has two maps: the absolute weights, and the pattern of Haufe et al. (2014), which is the absolute "
        "covariance of each feature with the decision value, divided by the variance of the decision value. Both are "
        "means over folds, each scaled to a sum of 1 inside the brain."
    )
    if draws:
        sentences.append(f"They are compared with those of {count(draws, 'baseline')} fitted on permuted diagnoses.")
    return " ".join(sentences)


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
        "All scans were explained with these weights"
        if model
        else "Each test scan was explained with the network of its own fold"
    )
    most = settings.get("most_subjects")
    limited = f" At most {count(most, 'subject')} per class, drawn at random, were explained." if most else ""
    return (
        f"{explained}. Relevance explains the {describe_target(settings)}{describe_clipping(settings)}. Methods: "
        f"{described}.{limited} Maps were scaled to a sum of absolute values of 1 before they were averaged. The "
        "enrichment of a region is its share of positive relevance divided by its share of volume. Relevance was "
        f"summed over the regions of {atlas.get('name', 'AAL')}"
        f"{', left and right combined' * atlas.get('merge_sides', False)}, resampled to the grid through the affines "
        "with nearest-neighbour interpolation. Means over subjects are reported with 95 % intervals "
        "by Hall's transformation of Student's t (Hall 1992), from 8 subjects on."
    )


def _evaluation(settings, known, draws, *, accuracy, several_folds, signal=None):
    permutations = f"{settings.get('permutations', 10_000):,} permutations"
    sentences = []
    if accuracy:
        sentences += [
            "The subject is the unit of analysis: probabilities were averaged over a subject's scans of one diagnosis.",
            *([WITHIN_FOLDS] if several_folds else []),
            "Confidence intervals (95 %) are Wilson's for accuracy, sensitivity and specificity (Wilson 1927), "
            "combined by squaring and adding for balanced accuracy (Newcombe 1998), and score-like for the AUC, with a "
            "variance between those of Newcombe (2006) and DeLong et al. (1988).",
            "These intervals are conditional on the trained networks.",
            f"Whether a network is better than chance was tested by {permutations} of the subjects' diagnoses within "
            "folds (Phipson & Smyth 2010).",
            "Network and baseline were compared on the same subjects: in AUC by the test of DeLong et al. (1988) and "
            "in accuracy by the exact test of McNemar (1947), with the interval of Newcombe (1998). Where a subject "
            "was classified more than once, the signs of the subjects' summed differences were flipped at random "
            "instead, which is the same test if every subject is classified once.",
        ]
    if draws:
        sentences.append(
            f"As a reference, all networks were also trained on shuffled diagnoses ({count(draws, 'draw')}) and "
            "explained in the same way. A draw is one permutation of the diagnoses over all subjects, within strata of "
            "age and sex where these are known, and is shared by all folds. p is the share of labellings, the observed "
            "one among them, that are at least as extreme; p values are corrected by the maximum over the family "
            "(max-T)."
        )
    if known:
        lost, of = ("part of the structure", "between the classes") if signal else ("lost", "of the disease")
        what = name_truth(signal) if signal else "atrophy"
        sentences.append(
            f"A voxel counts as {lost} if the log-Jacobian {of} is below "
            f"{-settings.get('truth_threshold', 0.02)}, and a region if its mean is. Regions were ranked by enrichment."
        )
        sentences.append(
            f"A method detected the {what} if p of its regional AUPRC, corrected over the methods, was at most 0.05."
            if draws >= LEAST_DRAWS
            else f"No verdict is given on whether a method detected the {what}, which needs "
            f"{LEAST_DRAWS} draws of networks trained on shuffled diagnoses."
        )
    return " ".join(sentences)


def _trust(settings):
    sentences, covariates = [], settings.get("cohort", {}).get("covariates", {})
    further = [name.replace("_", " ") for name in covariates]
    if reports_accuracy(settings):
        sentences += [
            "Calibration (Van Calster et al. 2019), sensitivity at 90 and 95 % specificity, with thresholds from the "
            "controls of the other folds, and net benefit (Vickers & Elkin 2006) were assessed by subject.",
            f"Within each class, the score was related to {listing(['age', 'sex', *further])} and to the quality of "
            "the registered scan (Spearman, with the intervals of Bonett & Wright 2000; AUC for two values"
            + ("; η² of ranks for more categories, Kruskal & Wallis 1952, Steiger 2004" if further else "")
            + "), with permutation tests within folds, corrected over properties and classes (Holm 1979).",
        ]
        sentences += _probed(settings)
    if compares_regions(settings):
        known = ["age", "sex", *[name for name in CATEGORIES if name in covariates][:1], "fold"]
        sentences.append(
            f"Relevance by region was compared between the classes with {listing(known)} as covariates where they "
            "were known, by permutation of residuals within folds (Freedman & Lane 1983), corrected over regions "
            "by the maximum (Westfall & Young 1993)."
        )
    if n := trainings_compared(settings) if "trust" in settings else 0:
        over = "over subjects and trainings" if n > 2 else "over subjects, given these trainings"
        sentences.append(
            f"Each fold was trained {n} times in all, from different initial weights and orders of scans. Maps of "
            f"{count(settings['trust']['subjects'], 'test subject')} of each class and fold were compared between "
            "these trainings: Spearman's correlation of the maps of the same scan and of the tables of regions, the "
            "overlap of the first ten regions, and ICC(2,1) of the enrichment of each region (Shrout & Fleiss 1979). "
            f"The 95 % intervals are {over}, by the jackknife (Efron & Stein 1981) and, for the overlap, by random "
            "weights (Owen & Eckles 2012)."
        )
    if n := settings.get("trust", {}).get("planted", 0):
        sentences.append(
            "To see whether a known loss of volume would be detected in these scans, controls of equal sex and about "
            "equal age were paired. In one scan of each pair, a loss was planted by deformation in the scan's own "
            "space, with one interpolation; the other was deformed by a random flow without net loss of equal root "
            f"mean square displacement ({count(n, 'assignment')}). All were registered again, and the network and the "
            "methods of the study were trained and scored on them, with 19 draws of shuffled labels or more as "
            "reference."
        )
    return " ".join(sentences)


def _probed(settings):
    """How shortcuts were probed, where the study does so."""
    if "trust" not in settings or not probes_maps(settings):
        return []
    return [
        "The networks were also applied to the test scans with everything but the silhouette, or everything but the "
        "background, replaced by the mean of training scans. Age, sex and covariates of test controls were predicted "
        "from the input of the last layer and from region means, by ridge or logistic regression on training controls."
    ]


def external_text(audits):
    """The paragraph on the other cohorts on which the models were tested.

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
        f"The models were also tested on other cohorts: {listing(named)}. Their scans were registered to the same "
        "template in the same way. They share no subject and no image with this study, and no model was trained on "
        "them. Each scan was normalised with the parameters of each model's training scans, then classified and "
        "explained by that model. Confidence intervals are over the other cohort's subjects. "
        "Heatmaps of another cohort are not compared with a planted truth."
    ]
