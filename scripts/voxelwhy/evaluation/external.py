"""Models on another study's scans beside their own test scans: the sentences that this comes to."""

from __future__ import annotations

from voxelwhy.evaluation.summary import CHANCE_AUC, FEW_SUBJECTS, largest_regions, pooled_metric, with_interval
from voxelwhy.wording import judged_by, people


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
