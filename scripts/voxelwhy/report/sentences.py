"""The three sentences that a study comes to."""

from __future__ import annotations

import math

from voxelwhy.io.text import interval, judged_by, listing, method_name, p_value, people

FEW_SUBJECTS = 100
CHANCE_AUC = 0.5
NOTHING_PLANTED = (
    "The effect of this simulated cohort is 0, so that its classes differ by chance alone; claims are judged by the "
    "regions that an effect of 1 would have changed."
)


def three_sentences(
    metrics, truth=None, *, simulated, classes, planted=True, model="cnn", baseline="baseline", regions=None
):
    """What came out, in three sentences: accuracy; what the heatmaps found; what they did not, or a caution.

    Parameters
    ----------
    metrics : DataFrame by the METRICS schema, with the rows of `model` and, where there is one, of `baseline`; None for
        weights of which nobody says where they were trained: the first sentence then says that, and why
    truth : DataFrame by the TRUTH schema, or None where no disease was planted
    simulated : bool
    planted : bool; False where `truth` holds maps of a null cohort against what would have been planted
    classes : {"positive": name, "negative": name}
    regions : {method: DataFrame by the REGIONS schema}, used where `truth` or `metrics` is None

    Returns
    -------
    list of three str
    """
    if metrics is None:
        first = _no_accuracy(regions or {}, simulated)
    else:
        first = _accuracy(metrics, model, baseline, simulated, classes)
    if truth is not None and len(truth) and not planted:
        return [first, _claimed(truth), NOTHING_PLANTED]
    if truth is not None and len(truth):
        return [first, _found(truth), _not_found(truth)]
    return [first, largest_regions(regions or {}, classes), _caution(metrics, model)]


def _accuracy(metrics, model, baseline, simulated, classes):
    scans = "simulated scans" if simulated else "scans"
    row = pooled_metric(metrics, model, "accuracy")
    auc = pooled_metric(metrics, model, "auc")
    sentence = (
        f"The network told {classes['positive']} from {classes['negative']} {scans} with an accuracy of "
        f"{with_interval(row)} "
        f"and an AUC of {with_interval(auc)} out of sample ({people(row['n_subjects'], row['n_scans'])}; "
        "95 % intervals over subjects)"
    )
    beside = pooled_metric(metrics, baseline, "accuracy")
    if beside is not None:
        sentence += f", the baseline with an accuracy of {with_interval(beside)}"
    if auc["low"] <= CHANCE_AUC:
        sentence += "; its AUC is not shown to be better than chance, so its heatmaps explain no proven ability"
    return sentence + "."


def _no_accuracy(regions, simulated):
    table = next(iter(regions.values()), None)
    everybody = table[table["group"] == "all"].iloc[0] if table is not None else None
    explained = "all scans" if everybody is None else people(everybody["n_subjects"], everybody["n_scans"])
    return (
        f"Where these weights were trained is not known, so no accuracy is given: {explained}"
        f"{' (simulated)' if simulated else ''} were explained, whether or not the network has seen them before."
    )


def _found(truth):
    found = truth[truth["found"]]
    if not len(found):
        return "No method found the planted atrophy: none ranked the changed regions above chance."
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in found.itertuples()]
    return f"The planted atrophy was found by {listing(named)}."


def _claimed(truth):
    claimed = truth[truth["found"]]
    if not len(claimed):
        return "No method claims to have found an atrophy, and none was planted: that is right."
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in claimed.itertuples()]
    return f"An atrophy is claimed by {listing(named)}, and none was planted: that is false."


def _not_found(truth):
    missed = truth[~truth["found"].astype(bool)]
    if not len(missed):
        return "Every method that was tried found it."
    named = [f"{method_name(row.method)} ({_figures(row)})" for row in missed.itertuples()]
    return f"It was not found by {listing(named)}."


def _figures(row):
    if not math.isfinite(row.region_auprc):
        return "regional AUPRC not defined"
    nothing = getattr(row, "shuffled_auprc", math.nan)
    beside = f"chance {row.region_chance:.2f}"
    if math.isfinite(nothing):
        beside = f"of networks that learnt nothing {nothing:.2f}"
    return f"regional AUPRC {row.region_auprc:.2f}, {beside}, Holm-corrected {p_value(row.p_holm)}"


def largest_regions(regions, classes):
    """The sentence on the three regions with the largest share of relevance in positive scans, by method."""
    named = []
    for method, table in regions.items():
        top = table[table["group"] == classes["positive"]].sort_values("rank").head(3)["region"]
        if len(top):
            named.append(f"{listing(top)} ({method_name(method)})")
    if not named:
        return "No heatmaps were asked of this split: it is for accuracy alone."
    return (
        f"The largest share of the relevance of {classes['positive']} scans lay in these regions: {'; '.join(named)}."
    )


def _caution(metrics, model):
    n = None if metrics is None else pooled_metric(metrics, model, "accuracy")["n_subjects"]
    if n is not None and n < FEW_SUBJECTS:
        return f"{n} people say nothing about accuracy: the interval shows how far it could lie from what it is."
    return "No change was planted in these scans, so nothing here shows whether the heatmaps point at the disease."


def with_interval(row):
    """The figure of a row of the METRICS schema with its interval."""
    return interval(row["value"], row["low"], row["high"])


def pooled_metric(metrics, model, metric):
    """The row of a metric by scan over all folds; None where the table has no such model."""
    chosen = metrics[
        (metrics["model"] == model)
        & (metrics["level"] == "scan")
        & (metrics["fold"] == "all")
        & (metrics["metric"] == metric)
    ]
    return chosen.iloc[0] if len(chosen) else None


def external_sentences(metrics, own_metrics, regions, *, tested, simulated, classes):
    """What came out on another study's scans, in three sentences: accuracy beside the study's own, regions, a caution.

    Parameters
    ----------
    metrics, own_metrics : DataFrames by the METRICS schema, of the other study's scans and of the split's test scans
    regions : {method: DataFrame by the REGIONS schema}, of the other study's scans
    tested : dict with cohort and split (names) and n_models
    simulated : {"there": bool, "here": bool}, whether the scans of the other study and of this one are simulated
    classes : {"positive": name, "negative": name}

    Returns
    -------
    list of three str
    """
    scans = {place: "simulated " * made for place, made in simulated.items()}
    there, here = (pooled_metric(table, "cnn", "accuracy") for table in (metrics, own_metrics))
    auc, own_auc = (pooled_metric(table, "cnn", "auc") for table in (metrics, own_metrics))
    beside = pooled_metric(metrics, "baseline", "accuracy")
    n, own_n = (people(row["n_subjects"], row["n_scans"]) for row in (there, here))
    first = (
        f"On the cohort {tested['cohort']} ({n}, {judged_by(tested['split'], tested['n_models'])}) the network told "
        f"{classes['positive']} from {classes['negative']} {scans['there']}scans with an accuracy of "
        f"{with_interval(there)} and an AUC of {with_interval(auc)}, the baseline with an accuracy of "
        f"{with_interval(beside)}; on the {scans['here']}test scans of its own study ({own_n}) the network had an "
        f"accuracy of {with_interval(here)} and an AUC of {with_interval(own_auc)} (95 % intervals over subjects)"
    )
    if auc["low"] <= CHANCE_AUC:
        first += f"; on {tested['cohort']} its AUC is not shown to be better than chance"
    return [f"{first}.", largest_regions(regions, classes), _caution(int(there["n_subjects"]))]


def _caution(n_subjects):
    cause = "hether a difference comes from the scanner, the people or their diagnosis, these figures cannot tell."
    if n_subjects < FEW_SUBJECTS:
        return f"{n_subjects} people say little about accuracy, as the interval shows; and w{cause}"
    return "W" + cause
