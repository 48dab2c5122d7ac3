"""The three sentences that summarise a study."""

from __future__ import annotations

import math

from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import interval, judged_by, listing, method_name, number, p_value, people
from voxelwhy.report.wording import name_auc, name_truth, of_baseline

FEW_SUBJECTS = 100
SIGNIFICANT = 0.05
NOTHING_PLANTED = (
    "The effect of this simulated cohort is 0, so its classes differ by chance alone; false detections are assessed in "
    "the regions that an effect of 1 would have changed."
)


def three_sentences(
    metrics,
    truth=None,
    *,
    simulated,
    classes,
    planted=True,
    model="cnn",
    baseline="baseline",
    regions=None,
    difference=None,
):
    """The results in three sentences: accuracy; what the heatmaps detected; what they did not detect, or a caution.

    Parameters
    ----------
    metrics : DataFrame by the METRICS schema, with the rows of `model` and, if there is one, of `baseline`; None if the
        training data of the weights are unknown: the first sentence then states why accuracy is not reported
    truth : DataFrame by the TRUTH schema, or None if no disease was planted
    simulated : bool
    planted : bool, or str; False if `truth` compares maps of a null cohort with what an effect of 1 would have planted;
        a str names the structure whose volume defines the classes
    classes : {"positive": name, "negative": name}
    regions : {method: DataFrame by the REGIONS schema}, used if `truth` or `metrics` is None
    difference : DataFrame by the DIFFERENCES schema, or None if there is no baseline

    Returns
    -------
    list of three str
    """
    if metrics is None:
        first = _no_accuracy(regions or {}, simulated)
    else:
        first = _accuracy(metrics, difference, model, baseline, simulated, classes)
    if truth is not None:
        truth = truth[~of_baseline(truth["method"])]
    if truth is not None and len(truth) and not planted:
        return [first, _claimed(truth), NOTHING_PLANTED]
    if truth is not None and len(truth):
        return [first, _found(truth, planted), _not_found(truth)]
    return [first, largest_regions(regions or {}, classes), _caution(metrics, model)]


def _accuracy(metrics, difference, model, baseline, simulated, classes):
    row = pooled_metric(metrics, model, "accuracy")
    sentence = (
        f"Accuracy by subject (95 % CI) for {classes['positive']} vs {classes['negative']}, out of sample, "
        f"{people(row['n_subjects'], row['n_scans'])}{' (simulated)' if simulated else ''}: "
        f"network {with_interval(row)}"
    )
    reference = pooled_metric(metrics, baseline, "accuracy")
    if reference is not None:
        sentence += f", baseline {with_interval(reference)}{in_difference(difference)}"
    auc = pooled_metric(metrics, model, "auc")
    sentence += f"; {name_auc(metrics)} of the network {with_interval(auc)}"
    if not better_than_chance(auc):
        sentence += (
            f", not shown to be better than chance ({_permuted(auc)}), so its heatmaps may not reflect a disease"
        )
    return sentence + "."


def in_difference(difference, metric="accuracy"):
    """The difference between network and baseline with its test, to follow on both: ", difference 0.05 (0.01 to …"."""
    if difference is None:
        return ""
    row = difference.set_index("metric").loc[metric]
    limits = f"{number(row['low'])} to {number(row['high'])}"
    return f", difference {number(row['difference'])} ({limits}; {row['test']}, {p_value(row['p'])})"


def better_than_chance(row):
    """Whether a row of the METRICS schema is significantly better than chance, by permuted diagnoses."""
    return bool(row["p"] <= SIGNIFICANT)


def _permuted(row):
    return f"permuted diagnoses, {p_value(row['p'])}"


def _no_accuracy(regions, simulated):
    table = next(iter(regions.values()), None)
    everybody = table[table["group"] == "all"].iloc[0] if table is not None else None
    explained = "all scans" if everybody is None else people(everybody["n_subjects"], everybody["n_scans"])
    return (
        f"The training data of these weights are unknown, so accuracy is not reported: {explained}"
        f"{' (simulated)' if simulated else ''} were explained, whether or not the network was trained on them."
    )


def _found(truth, planted):
    what = name_truth(planted)
    if (truth["verdict"] == "no verdict").all():
        structure = f"the structure that defines the classes, the {what}"
        return _agreement(truth, structure if isinstance(planted, str) else "the planted loss of volume")
    found = truth[truth["verdict"] == "detected"]
    if not len(found):
        return (
            f"No method detected the {what}: none ranked its regions significantly better than networks "
            "trained on shuffled diagnoses."
        )
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in found.itertuples()]
    return f"The {what} was detected by {listing(named)}; {_measure(found)}."


def _agreement(truth, reference):
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in truth.itertuples()]
    return f"Agreement with {reference}, {_measure(truth)}: {listing(named)}."


def _claimed(truth):
    if (truth["verdict"] == "no verdict").all():
        return _agreement(truth, "the loss of volume that an effect of 1 would have planted")
    claimed = truth[truth["verdict"] == "detected"]
    if not len(claimed):
        return "No method detected an atrophy, which is correct, since none was planted."
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in claimed.itertuples()]
    return f"Atrophy was detected by {listing(named)}, a false positive, since none was planted; {_measure(claimed)}."


def _not_found(truth):
    if (truth["verdict"] == "no verdict").all():
        return _no_verdict(truth)
    missed = truth[truth["verdict"] != "detected"]
    if not len(missed):
        return "Every method tested detected it."
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in missed.itertuples()]
    return f"It was not detected by {listing(named)}."


def _no_verdict(truth):
    draws = int(truth["n_shuffled"].max())
    if draws >= LEAST_DRAWS:
        return "No regional AUPRC is defined, so no verdict is given on whether a method detected it."
    lacking = f"With fewer than {LEAST_DRAWS} draws of shuffled diagnoses"
    lacking = lacking if draws else "Without networks trained on shuffled diagnoses"
    return f"{lacking}, no verdict is given on whether a method detected it."


def _figures(row):
    if not math.isfinite(row.region_auprc):
        return "regional AUPRC not defined"
    if not row.n_shuffled:
        return f"{row.region_auprc:.2f}, by chance {row.region_chance:.2f}"
    drawn = f"{row.region_auprc:.2f}, shuffled {row.shuffled_low:.2f} to {row.shuffled_high:.2f}"
    return drawn if row.verdict == "no verdict" else f"{drawn}, {p_value(row.p_family)}"


def _measure(truth):
    """What the numbers of `_figures` are, for the end of a sentence."""
    if not truth["n_shuffled"].all():
        return "values: AUPRC over regions"
    draws = int(truth["n_shuffled"].max())
    verdict = "" if (truth["verdict"] == "no verdict").all() else ", p corrected over the methods"
    return f"values: AUPRC over regions, range of {draws} draws of shuffled diagnoses{verdict}"


def largest_regions(regions, classes):
    """The sentence that names the three regions most enriched in relevance in positive scans, by method.

    Where networks were trained on shuffled diagnoses, only regions beyond theirs are named.
    """
    named, tested = [], False
    for method, table in regions.items():
        own = table[table["group"] == classes["positive"]].sort_values("rank")
        tested |= bool(len(own)) and own["n_shuffled"].iloc[0] >= LEAST_DRAWS
        top = (own[own["p_family"] <= SIGNIFICANT] if tested else own).head(3)["region"]
        if len(own):
            named.append(f"{listing(top) or 'none'} ({method_name(method)})")
    if not named:
        return "No heatmaps were computed for this split, which serves to estimate accuracy only."
    if tested:
        beyond = "with more relevance than in networks trained on shuffled diagnoses (p ≤ 0.05, corrected over regions)"
        return f"In {classes['positive']} scans, the regions {beyond} were {'; '.join(named)}."
    return f"In {classes['positive']} scans, the regions most enriched in relevance were {'; '.join(named)}."


def _caution(metrics, model):
    n = None if metrics is None else pooled_metric(metrics, model, "accuracy")["n_subjects"]
    if n is not None and n < FEW_SUBJECTS:
        return f"{few_subjects(n)}."
    return (
        "The heatmaps were not compared with a known location of the disease, so these results do not show whether "
        "the heatmaps mark it."
    )


def few_subjects(n):
    """The caution about a small cohort, without a full stop."""
    return f"With only {n} subjects, the estimate of accuracy is imprecise, as its confidence interval shows"


def with_interval(row):
    """The value in a row of the METRICS schema, with its interval."""
    return interval(row["value"], row["low"], row["high"])


def pooled_metric(metrics, model, metric):
    """The row of a metric by subject, over all folds; None if the table has no such model."""
    chosen = metrics[
        (metrics["model"] == model)
        & (metrics["level"] == "subject")
        & (metrics["fold"] == "all")
        & (metrics["metric"] == metric)
    ]
    return chosen.iloc[0] if len(chosen) else None


def external_sentences(metrics, own_metrics, regions, *, tested, simulated, classes, difference=None):
    """The results on another study's scans in three sentences: accuracy on both studies, regions, a caution.

    Parameters
    ----------
    metrics, own_metrics : DataFrames by the METRICS schema, of the other study's scans and of the split's test scans
    regions : {method: DataFrame by the REGIONS schema}, of the other study's scans
    tested : dict with cohort and split (names) and n_models
    simulated : {"there": bool, "here": bool}, whether the scans of the other study and of this one are simulated
    classes : {"positive": name, "negative": name}
    difference : DataFrame by the DIFFERENCES schema, on the other study's scans

    Returns
    -------
    list of three str
    """
    scans = {place: "simulated " * made for place, made in simulated.items()}
    there, here = (pooled_metric(table, "cnn", "accuracy") for table in (metrics, own_metrics))
    auc, own_auc = (pooled_metric(table, "cnn", "auc") for table in (metrics, own_metrics))
    baseline = pooled_metric(metrics, "baseline", "accuracy")
    n, own_n = (people(row["n_subjects"], row["n_scans"]) for row in (there, here))
    first = (
        f"Accuracy by subject (95 % CI) for {classes['positive']} vs {classes['negative']} on {scans['there']}scans "
        f"of the cohort {tested['cohort']} ({n}, {judged_by(tested['split'], tested['n_models'])}): network "
        f"{with_interval(there)}, baseline {with_interval(baseline)}{in_difference(difference)}, "
        f"{name_auc(metrics)} of the network {with_interval(auc)}; on the "
        f"{scans['here']}test scans of its own study ({own_n}): network {with_interval(here)}, AUC of the network "
        f"{with_interval(own_auc)}"
    )
    if not better_than_chance(auc):
        first += f"; the AUC on {tested['cohort']} is not shown to be better than chance ({_permuted(auc)})"
    return [f"{first}.", largest_regions(regions, classes), _caution_elsewhere(int(there["n_subjects"]))]


def _caution_elsewhere(n_subjects):
    cause = "hese results do not show whether a difference is due to the scanner, the subjects or their diagnoses."
    if n_subjects < FEW_SUBJECTS:
        return f"{few_subjects(n_subjects)}; t{cause}"
    return "T" + cause
