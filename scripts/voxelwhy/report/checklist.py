"""The reporting checklist TRIPOD+AI, filled in from the settings where they answer an item; see `claim` for CLAIM."""

from __future__ import annotations

import pandas as pd

from voxelwhy.io.channels import in_words
from voxelwhy.io.text import count, listing, people
from voxelwhy.report.citations import has_several_folds, reports_accuracy
from voxelwhy.report.tables import publish_table
from voxelwhy.report.wording import describe_normalisation, describe_registration

AUTHORS = "for the authors"
#: Columns of a checklist.
COLUMNS = ["item", "topic", "stated", "place"]
#: The checklists by the name of their table: title, and what the caption names.
CHECKLISTS = {
    "checklist": ("Reporting checklist", "TRIPOD+AI (Collins et al. 2024)"),
    "claim": ("Reporting checklist of medical imaging", "CLAIM (Mongan et al. 2020; update, Tejani et al. 2024)"),
}


def fill_checklist(settings, selected, *, simulated):
    """Fill in TRIPOD+AI for one study.

    Parameters
    ----------
    settings : dict, the whole config with its defaults filled in
    selected : DataFrame by tables.SELECTED
    simulated : bool

    Returns
    -------
    DataFrame with item, topic, stated (what the study says of it; empty if only the authors can), and place (where the
        report or the results have it)

    References
    ----------
    Collins 2024 (BMJ 385:e078378).
    """
    n, accuracy = people(selected["subject_id"].nunique(), len(selected)), reports_accuracy(settings)
    rows = [*_people_and_data(settings, selected, n, accuracy, simulated), *_methods(settings, accuracy)]
    rows += _results(n, accuracy)
    return pd.DataFrame(rows, columns=COLUMNS)


def _people_and_data(settings, selected, n, accuracy, simulated):
    """Items 1 to 11."""
    classes = settings["cohort"]["classes"]
    image = in_words(settings["training"]["channels"], settings["scans"]["modality"])
    return [
        ("1", "title", "", ""),
        ("2", "abstract", "", ""),
        ("3", "context, intended population and use, health inequalities", "", ""),
        ("4", "objectives", "development and evaluation" if accuracy else "explanation of a given model", "Summary"),
        ("5a", "source of data", describe_source(settings, simulated), "Cohort"),
        ("5b", "dates", _dates(selected), ""),
        ("6a", "setting", "", ""),
        ("6b", "eligibility", _eligibility(classes), "Cohort: excluded rows and scans, each with its reason"),
        ("6c", "treatments", "", ""),
        ("7", "preparation of data", _preparation(settings), "Methods; Registration"),
        ("8a", "outcome", f"{name_class(classes['positive'])} against {name_class(classes['negative'])}", "Cohort"),
        ("8b", "who assessed the outcome, and blinding", "", ""),
        ("9", "predictors", f"the registered image: {image}", "Methods"),
        ("10", "sample size", f"all eligible scans: {n}; no calculation", "Cohort"),
        ("11", "missing data", "rows without a scan or diagnosis are excluded", "Cohort: excluded rows and scans"),
    ]


def _methods(settings, accuracy):
    """Items 12 to 16."""
    training, outside = settings["training"], listing(settings["evaluate_on"])
    measures = _measures(accuracy) + "; AUC within folds" * (accuracy and has_several_folds(settings))
    return [
        ("12a", "use of data", describe_splits(settings), "Cohort: Table 1"),
        ("12b", "handling of predictors", f"normalisation: {describe_normalisation(training)}", "Methods"),
        ("12c", "model and its building", f"network {training['network']}", "Methods; Training"),
        ("12d", "heterogeneity between clusters", "", ""),
        ("12e", "measures of performance", measures, "Performance; Trust"),
        ("12f", "model updating", _updating(training), "Methods"),
        ("12g", "calculation of predictions", "mean probability over the scans of a subject", "Methods"),
        ("13", "class imbalance", f"class weights: {training['class_weights']}", "Methods"),
        ("14", "fairness", "strata of sex and age, where they are known" if accuracy else "", "Trust"),
        (
            "15",
            "output and thresholds",
            "probability; 0.5, and thresholds at 90 and 95 % specificity",
            "Performance; Trust",
        ),
        (
            "16",
            "development against evaluation data",
            f"tested on {outside}" if outside else "one cohort",
            "Other cohorts",
        ),
    ]


def _results(n, accuracy):
    """Items 17 to 27."""
    return [
        ("17", "ethical approval", "", ""),
        ("18a-e", "funding, conflicts of interest, protocol, registration, data sharing", "", ""),
        ("18f", "code sharing", "voxelwhy; its version and all settings are in the report", "Methods"),
        ("19", "involvement of patients and the public", "", ""),
        ("20", "participants: flow and characteristics", n, "Cohort: flow, Table 1"),
        ("21", "participants and outcomes in each analysis", "by fold and side", "Cohort: Table 1"),
        (
            "22",
            "full specification of the model",
            "weights, normalisation and settings",
            "splits/<split>/fold-<k>/model.pt",
        ),
        ("23a", "performance with intervals", "95 % intervals over subjects" if accuracy else "", "Performance"),
        ("23b", "performance by cluster or subgroup", "strata of sex and age" if accuracy else "", "Trust"),
        ("24", "results of model updating", "", ""),
        ("25", "interpretation", "", ""),
        ("26", "limitations", "", ""),
        ("27", "use of the model in practice", "", ""),
    ]


def publish_checklist(checklist, out, *, name="checklist"):
    """A checklist (a key of CHECKLISTS) as a table; what only the authors can state is marked and named as such."""
    title, guideline = CHECKLISTS[name]
    shown = checklist.rename(columns=str.capitalize)
    shown["Stated"] = shown["Stated"].where(shown["Stated"] != "", AUTHORS)
    shown["Place"] = shown["Place"].where(checklist["stated"] != "", "")
    left = checklist[checklist["stated"] == ""]
    caption = (
        f"Items of {guideline}, paraphrased and filled in from the settings of this study. {len(left)} of "
        f"{count(len(checklist), 'row')} can be stated only by the authors: items {listing(left['item'])}."
    )
    return publish_table(checklist, shown, out, title=title, caption=caption, category="checklist")


def describe_splits(settings):
    """How the scans are divided: the folds or the holdout of each split."""
    return listing(_split(split) for split in settings["splits"])


def _split(split):
    if split["kind"] == "kfold":
        return f"{split['folds']} folds ({split['name']}), subjects never in two of them"
    return f"{split['name']} (holdout of {count(split.get('test_subjects', 0), 'subject')} of each class)"


def describe_source(settings, simulated):
    """Where the scans are from: the source of the cohort and its tables."""
    if simulated:
        return "simulated cohort"
    cohort = settings["cohort"]
    tables = cohort.get("table") or cohort.get("data_dir", "")
    return f"{cohort['source']}: {listing([tables] if isinstance(tables, str) else tables)}"


def _dates(selected):
    dates = sorted(date for date in selected["scan_date"].dropna() if date)
    return f"scans from {dates[0]} to {dates[-1]}" if dates else ""


def name_class(side):
    """A class with the values of the table that it stands for."""
    return f"{side['name']} ({', '.join(map(str, side['values']))})"


def _eligibility(classes):
    return (
        f"{name_class(classes['positive'])} or {name_class(classes['negative'])}, with a scan that could be registered"
    )


def _preparation(settings):
    return f"registered {describe_registration(settings['registration'])}"


def _measures(accuracy):
    return "accuracy, sensitivity, specificity, AUC, calibration, net benefit" if accuracy else ""


def _updating(training):
    return "temperature scaling on validation scans" if training["calibrate"] == "temperature" else "none"
