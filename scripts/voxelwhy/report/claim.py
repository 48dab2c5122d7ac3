"""The reporting checklist CLAIM (2024 update), filled in from the settings where they answer an item."""

from __future__ import annotations

import pandas as pd

from voxelwhy.io.channels import in_words
from voxelwhy.io.text import count, listing, method_title, people
from voxelwhy.report.checklist import COLUMNS, describe_source, describe_splits, name_class
from voxelwhy.report.citations import has_several_folds, reports_accuracy
from voxelwhy.report.wording import KEPT, describe_normalisation, describe_registration

EXCLUDED = "Cohort: excluded rows and scans"


def fill_claim(settings, selected, *, simulated):
    """Fill in CLAIM for one study.

    Parameters
    ----------
    settings : dict, the whole config with its defaults filled in
    selected : DataFrame by tables.SELECTED
    simulated : bool

    Returns
    -------
    DataFrame as that of `checklist.fill_checklist`, with the 44 items of the update in their order

    References
    ----------
    Mongan 2020 (Radiol Artif Intell 2:e200029); Tejani 2024 (Radiol Artif Intell 6:e240300).
    """
    n, accuracy = people(selected["subject_id"].nunique(), len(selected)), reports_accuracy(settings)
    rows = [*_before_training(settings, n, simulated), *_model_and_training(settings)]
    rows += [*_evaluation(settings, accuracy), *_after_training(n, accuracy, simulated)]
    numbered = [(str(k), *row) for k, row in enumerate(rows, 1)]
    return pd.DataFrame(numbered, columns=COLUMNS)


def _before_training(settings, n, simulated):
    """Items 1 to 21."""
    classes = [settings["cohort"]["classes"][side] for side in ("positive", "negative")]
    registered = f"registered {describe_registration(settings['registration'])}"
    normalised = f"normalisation: {describe_normalisation(settings['training'])}"
    goal = (
        "development of a classifier" if "weights" not in settings.get("model", {}) else "explanation of given weights"
    )
    return [
        ("title: AI and its kind", "", ""),
        ("structured abstract", "", ""),
        ("background, intended use and clinical role", "", ""),
        ("aims and hypotheses", "", ""),
        ("prospective or retrospective", "simulated" if simulated else "", "Cohort" if simulated else ""),
        ("goal of the study", f"{goal}, and how far its heatmaps can be trusted", "Summary; Trust"),
        ("sources of data", describe_source(settings, simulated), "Cohort"),
        ("inclusion and exclusion", f"{listing(name_class(c) for c in classes)}, with a scan", EXCLUDED),
        ("preprocessing", f"{registered}; {normalised}", "Methods; Registration"),
        ("selection of parts of the data", _chosen(settings), EXCLUDED),
        ("removal of identifying data", "no person is behind the scans" if simulated else "", ""),
        ("missing data", "rows without a scan or diagnosis are excluded; nothing is imputed", EXCLUDED),
        ("acquisition of images", "scans of a simulated scanner" if simulated else "", "Methods" if simulated else ""),
        (
            "reference standard: definition",
            f"diagnoses of the table: {listing(name_class(c) for c in classes)}",
            "Cohort",
        ),
        ("reference standard: why this one", "", ""),
        ("reference standard: who made it", "", ""),
        ("annotation of the test data", "none: classes are those of the table", "Cohort"),
        ("variation between raters", "", ""),
        ("partitions and how they were assigned", describe_splits(settings), "Cohort: Table 1"),
        ("level at which partitions are disjoint", "subjects; checked by an audit", "splits/<split>/audit.json"),
        ("intended size of the test data", f"all eligible scans: {n}; no calculation", "Cohort"),
    ]


def _chosen(settings):
    rejected = len(settings["registration"].get("skip") or [])
    return "all eligible scans" + f", except {count(rejected, 'scan')} rejected by name" * bool(rejected)


def _model_and_training(settings):
    """Items 22 to 27."""
    training, given = settings["training"], "weights" in settings.get("model", {})
    seen = in_words(training["channels"], settings["scans"]["modality"])
    architecture = f"network {training['network']}, on the registered image: {seen}"
    names = {"optimiser": "optimiser", "learning_rate": "learning rate", "batch_size": "batch size", "epochs": "epochs"}
    told = ", ".join(f"{title} {training[name]}" for name, title in names.items() if name in training)
    told += f", augmentation: {listing(training.get('augmentation') or ['none'])}"
    seeds = training.get("seeds", 1)
    combined = f"mean probability of {count(seeds, 'training')} of each fold" if seeds > 1 else "none"
    return [
        ("architecture of the model", architecture, "Methods; Training"),
        ("software and versions", "voxelwhy and its packages, by version", "Methods"),
        ("initial parameters", "given weights" if given else "random, from the seed of the study", "Methods"),
        ("training: procedure and hyperparameters", "" if given else told, "Methods; Training"),
        ("selection of the final model", "" if given else KEPT[training["keep"]], "Methods"),
        ("ensembles", "" if given else combined, "Methods"),
    ]


def _evaluation(settings, accuracy):
    """Items 28 to 34."""
    measures = "accuracy, sensitivity, specificity, calibration, net benefit, AUC" if accuracy else ""
    within = " within folds" * (accuracy and has_several_folds(settings))
    methods = listing(method_title(name) for name in settings["heatmaps"]["methods"])
    shuffled = settings["evaluation"].get("shuffled", 0)
    reference = f"; compared with {count(shuffled, 'draw')} of shuffled diagnoses" if shuffled else ""
    outside = listing(settings["evaluate_on"])
    return [
        ("measures of performance", f"{measures}{within}", "Performance; Trust"),
        ("uncertainty and tests", "95 % intervals over subjects; permutation tests" if accuracy else "", "Performance"),
        ("robustness", "strata, shortcuts, further trainings, matched pairs" if accuracy else "", "Trust"),
        ("explanation of the model, and its validity", f"{methods}{reference}" if methods else "", "Heatmaps; Trust"),
        ("testing on internal data", "test scans of each fold" if accuracy else "", "Performance"),
        ("testing on external data", outside, "Other cohorts" if outside else ""),
        ("registration of a trial", "", ""),
    ]


def _after_training(n, accuracy, simulated):
    """Items 35 to 44."""
    return [
        ("flow of participants", n, "Cohort: flow; excluded rows and scans"),
        ("demographic and clinical characteristics", "by fold and side", "Cohort: Table 1"),
        ("performance by partition and subgroup", "strata of sex and age, where known" if accuracy else "", "Trust"),
        (
            "diagnostic accuracy with intervals",
            "AUC and others, with 95 % intervals" if accuracy else "",
            "Performance",
        ),
        (
            "analysis of failures",
            "predictions of each scan, for a look at errors" if accuracy else "",
            "predictions.tsv",
        ),
        ("limitations", "", ""),
        ("implications for practice", "", ""),
        ("full protocol", "all settings are in the report", "Settings"),
        ("availability of software, model and data", "software and settings" + "; the cohort" * simulated, "Methods"),
        ("funding", "", ""),
    ]
