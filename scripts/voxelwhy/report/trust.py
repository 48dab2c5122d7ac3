"""How far to trust a study, for readers: tables, and one plain sentence for each answer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.text import interval, listing, method_title, number, p_value
from voxelwhy.io.trust_tables import MEASURES, TRUST
from voxelwhy.report.planted import planted_answers
from voxelwhy.report.shortcuts import SHORTCUT_PART, answer_shortcut, shortcut_answers
from voxelwhy.report.stability import not_compared_row, stability_row
from voxelwhy.report.tables import publish_table, short_p

SIGNIFICANT = 0.05
FILLS = {"mean": "mean of training controls", "blur": "the scan, blurred"}
SIMILARITIES = {"spearman": "Spearman's ρ", "spearman_absolute": "ρ of absolute values", "ssim": "SSIM"}


def publish_clinical(clinical, out, *, of=""):
    """Calibration, operating points, net benefit and strata, one row for each.

    Parameters
    ----------
    clinical : DataFrame by trust_tables.CLINICAL
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    shown = pd.DataFrame(
        {
            "Measure": clinical["measure"].map(MEASURES),
            "Subjects": clinical["group"],
            "n": clinical["n_subjects"],
            "Value (95 % CI)": [interval(row.value, row.low, row.high) for row in clinical.itertuples()],
        }
    )
    caption = (
        f"Out-of-sample probabilities of the network, by subject{of}. Calibration: logistic regression of the "
        "diagnosis on the logit of the probability; calibrated probabilities have an intercept of 0 and a slope of 1. "
        "The threshold of a fold is a quantile of the scores of controls in the other folds. Net benefit at a "
        "threshold probability equal to the prevalence."
    )
    return publish_table(clinical, shown, out, title="Calibration and use", caption=caption, category="trust")


def publish_class_regions(tables, out, *, classes, atlas, of="", top=10):
    """The regions whose relevance differs most between patients and controls, by method."""
    frame = pd.concat([own.assign(method=method) for method, own in tables.items()], ignore_index=True)
    chosen = pd.concat([own.loc[own["t"].abs().sort_values(ascending=False, kind="stable").index[:top]].assign(method=m)
                        for m, own in tables.items()], ignore_index=True)  # fmt: skip
    shown = pd.DataFrame(
        {
            "Method": chosen["method"].map(method_title),
            "Region": chosen["region"],
            "Difference (95 % CI)": [interval(row.effect, row.low, row.high) for row in chosen.itertuples()],
            "t": chosen["t"].map(number),
            "p": chosen["p"].map(short_p),
            "p (family)": chosen["p_family"].map(short_p),
            "Rank in patients (95 % CI)": [interval(r.rank, r.rank_low, r.rank_high, 0) for r in chosen.itertuples()],
            "Among the first ten": chosen["among_first"].map(_percent),
        }
    )
    n = chosen.iloc[0]
    adjusted = f"given {n['covariates'].replace('female', 'sex')} and fold" if n["covariates"] else "within folds"
    caption = (
        f"The {top} {atlas} regions with the largest |t| by method: enrichment in maps that explain "
        f"{classes['positive']}, {classes['positive']} (n = {n['n_positive']}) minus {classes['negative']} (n = "
        f"{n['n_negative']}){of}, {adjusted}. p: two-sided, by permutation within folds; p (family): corrected over "
        "the regions of a method (max-T). The rank is by mean enrichment in patients; its interval, and the share "
        "among the first ten, are over resamples of the patients."
    )
    title = f"Relevance by region, {classes['positive']} against {classes['negative']}"
    return publish_table(frame, shown, out, title=title, caption=caption, category="trust")


def _percent(share):
    return "–" if not np.isfinite(share) else f"{share:.0%}"


def publish_faithfulness(summary, out):
    """Whether blanking what a map marks changes the score, one row for each fill and method."""
    shown = pd.DataFrame(
        {
            "Method": summary["method"].map(method_title),
            "Fill": summary["fill"].map(FILLS),
            "n": summary["n_subjects"],
            "Most relevant first": summary["most"].map(number),
            "Least relevant first": summary["least"].map(number),
            "Random order": summary["random"].map(number),
            "Most minus random (95 % CI)": [interval(row.gain, row.low, row.high) for row in summary.itertuples()],
            "p": summary["p"].map(short_p),
            "p (family)": summary["p_family"].map(short_p),
        }
    )
    caption = (
        "Drop of the score (difference of the logits) when regions are blanked in the order of a scan's own map, "
        "mean over 5, 10, … 50 % of the brain's volume (AOPC, Samek 2017) and over subjects. Fill: what blanked "
        "voxels become. Random order: mean of 10 orders, the same for all methods. p: one-sided, by sign flips over "
        "subjects; p (family): corrected over the methods of a fill (max-T)."
    )
    title = "Blanking what a map marks"
    return publish_table(summary, shown, out, title=title, caption=caption, category="trust")


def publish_randomised(summary, out):
    """Whether maps depend on the weights, one row for each method and depth."""
    wide = summary.pivot(index=["method", "depth", "layer"], columns="measure", values=["value", "low", "high"])
    wide = wide.reindex(summary.drop_duplicates(["method", "depth"]).set_index(["method", "depth", "layer"]).index)
    shown = pd.DataFrame(
        {
            "Method": [method_title(method) for method, _, _ in wide.index],
            "Layers reset": [depth or "another subject" for _, depth, _ in wide.index],
            "Down to": [layer or "–" for _, _, layer in wide.index],
        }
        | {
            title: [interval(*(row[part, measure] for part in ("value", "low", "high"))) for _, row in wide.iterrows()]
            for measure, title in SIMILARITIES.items()
        }
    )
    caption = (
        "Similarity of a scan's map to that of the same network with layers reset, from the last one on (Adebayo "
        f"2018), mean over {int(summary['n_subjects'].max())} subjects with Student's 95 % interval. First row of a "
        "method: similarity to the map of another subject of the same class by the trained network."
    )
    title = "Maps of networks with reset weights"
    return publish_table(summary, shown, out, title=title, caption=caption, category="trust")


def publish_trust(trust, out):
    """How far to trust the study: one row for each answer, with its sentence."""
    shown = pd.DataFrame(
        {
            "Question": trust["part"],
            "Of": trust["of"],
            "Measure": trust["measure"],
            "Value (95 % CI)": [interval(row.value, row.low, row.high) for row in trust.itertuples()],
            "p": trust["p"].map(short_p),
            "n": trust["n_subjects"],
            "In words": trust["sentence"],
        }
    )
    caption = "Each row is one answer; the figures and tables below it give the details. n: subjects."
    return publish_table(trust, shown, out, title="How far to trust this study", caption=caption, category="trust")


def summarise_trust(
    clinical,
    shortcuts,
    class_regions,
    *,
    classes,
    faithfulness=None,
    randomised=None,
    stability=None,
    not_compared="",
    planted=None,
):
    """Put the answers together: one row and one sentence for each.

    Parameters
    ----------
    clinical, shortcuts : DataFrames by trust_tables.CLINICAL and SHORTCUTS; None if no accuracy is reported
    class_regions : {method: DataFrame by trust_tables.CLASS_REGIONS}
    classes : {"positive": name, "negative": name}
    faithfulness, randomised : DataFrames by trust_tables.FAITHFULNESS_SUMMARY and RANDOMISED_SUMMARY, where maps were
        probed
    stability : (DataFrame by STABILITY, DataFrame by STABILITY_REGIONS), where trainings were compared
    not_compared : str, why they were not, if that needs saying
    planted : DataFrame of `evaluation.planted.results.summarise_planted`, where a loss was planted in the controls

    Returns
    -------
    DataFrame by trust_tables.TRUST
    """
    rows = []
    if clinical is not None:
        rows += _of_probabilities(clinical)
    if shortcuts is not None:
        said = [(row, answer_shortcut(row)) for row in shortcut_answers(shortcuts)]
        rows += [_row(SHORTCUT_PART, *answer[:2], row, answer[2], answer[3]) for row, answer in said]
    if randomised is not None:
        rows += [_of_weights(*part) for part in randomised.groupby("method", sort=False)]
    if faithfulness is not None:
        rows += [_of_blanking(row) for row in faithfulness[faithfulness["fill"] == "mean"].to_dict("records")]
    if stability is not None:
        regions = dict(iter(stability[1].groupby("method")))
        rows += [stability_row(own, regions[method]) for method, own in stability[0].groupby("method", sort=False)]
    elif not_compared:
        rows.append(not_compared_row(not_compared))
    if planted is not None:
        rows += planted_answers(planted)
    rows += [_of_regions(method, table, classes) for method, table in class_regions.items()]
    return pd.DataFrame(rows, columns=list(TRUST.columns))


def _row(part, of, measure, row, sentence, p=np.nan):
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    n = int(row["n_subjects"])
    return {"part": part, "of": of, "measure": measure, "value": value, "low": low, "high": high, "p": p,
            "n_subjects": n, "sentence": sentence}  # fmt: skip


def _of_probabilities(clinical):
    rows = clinical[clinical["group"] == "all"].set_index("measure")
    slope, found = rows.loc["calibration_slope"], []
    said = interval(slope["value"], slope["low"], slope["high"])
    if not np.isfinite(slope["value"]):
        words = "Calibration is not defined: the probabilities separate the classes completely, or a class is missing."
    elif slope["low"] <= 1 <= slope["high"]:
        words = f"Probabilities are not shown to be too extreme or too moderate (calibration slope {said}; 1 is ideal)."
    else:
        kind = "extreme" if slope["value"] < 1 else "moderate"
        words = f"Probabilities are too {kind} (calibration slope {said}; 1 is ideal)."
    found.append(_row("Are the probabilities right?", "network", "calibration slope", slope, words))
    sensitivity, reached = rows.loc["sensitivity_90"], rows.loc["specificity_90"]
    if np.isfinite(sensitivity["value"]):
        words = (
            f"At a threshold that 90 % of the controls in other folds do not exceed, the network detects "
            f"{interval(sensitivity['value'], sensitivity['low'], sensitivity['high'])} of the patients, with a "
            f"specificity of {interval(reached['value'], reached['low'], reached['high'])}."
        )
    else:
        words = "No threshold can be set without the subjects that it classifies: each is in all test sets."
    measure = MEASURES["sensitivity_90"]
    return [*found, _row("How many patients are detected?", "network", measure, sensitivity, words)]


def _of_weights(method, summary):
    own = summary[summary["measure"] == "spearman"].set_index("depth")
    last, other = own.loc[own.index.max()], own.loc[0]
    words = (
        f"{method_title(method)}: with all weights reset, maps correlate with those of the trained network at ρ "
        f"{interval(last['value'], last['low'], last['high'])}; the map of another subject at "
        f"{interval(other['value'], other['low'], other['high'])}. The first value is "
        "about 0 if maps show what was learnt."
    )
    return _row("Does the map depend on the weights?", method_title(method), "Spearman, all reset", last, words)


def _of_blanking(row):
    title, said = method_title(row["method"]), interval(row["gain"], row["low"], row["high"])
    lowers = "lowers" if row["p_family"] <= SIGNIFICANT else "is not shown to lower"
    words = (
        f"{title}: blanking what it marks {lowers} the score more than blanking regions at random "
        f"(difference {said} logits, {p_value(row['p_family'])})."
    )
    answer = {"value": row["gain"], **{name: row[name] for name in ("low", "high", "n_subjects")}}
    return _row("Does blanking what it marks change the score?", title, "AOPC, most minus random", answer, words,
                row["p_family"])  # fmt: skip


def _of_regions(method, table, classes):
    part, measure = "Which regions differ beyond chance?", "largest |t|"
    n = int(table["n_positive"].iloc[0] + table["n_negative"].iloc[0])
    tested = table[table["t"].notna()]
    if not len(tested):
        words = "Too few subjects, or regions without relevance: no region is tested."
        row = {"value": np.nan, "low": np.nan, "high": np.nan, "n_subjects": n}
        return _row(part, method_title(method), measure, row, words)
    beyond = tested[tested["p_family"] <= SIGNIFICANT].sort_values("p_family", kind="stable")
    first = tested.loc[tested["t"].abs().idxmax()]
    row = {"value": first["t"], "low": np.nan, "high": np.nan, "n_subjects": n}
    if len(beyond):
        ordered = beyond.loc[beyond["t"].abs().sort_values(ascending=False, kind="stable").index]
        named = [name.replace("_", " ") for name in ordered["region"].head(3)]
        words = (
            f"{method_title(method)}: in {len(beyond)} of {len(tested)} regions {classes['positive']} and "
            f"{classes['negative']} differ beyond chance, most in {listing(named)}."
        )
    else:
        words = f"{method_title(method)}: no region differs between {classes['positive']} and {classes['negative']}"
        words += f" beyond chance (smallest corrected {p_value(tested['p_family'].min())})."
    return _row(part, method_title(method), measure, row, words, float(tested["p_family"].min()))
