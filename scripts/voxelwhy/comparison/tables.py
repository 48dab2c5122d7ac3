"""The tables of a comparison for readers, with captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.comparison.summary import ANY, AUDIT
from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import interval, listing, method_title, number
from voxelwhy.report.tables import publish_table
from voxelwhy.report.wording import describe_planted, describe_repeats

#: Columns of the full table for each method.
FIGURES = ("region_auprc", "least", "most", "region_chance", "null_95", "shuffled_auprc", "p", "p_family")


def publish_choices(combinations, found, columns, out, *, refused, repeated, same_scans, simulated):
    """Publish one row per combination: AUC of network and baseline, and each method's AUPRC with range and reference.

    The full table (tsv) has more columns for each method: `FIGURES`, n_found and found of `summary.found_table`.
    """
    shown = combinations[columns].copy()
    shown["repeats"] = combinations["n_repeats"]
    shown["subjects"] = combinations["n_subjects"]
    shown["AUC"] = [interval(row.auc, row.auc_low, row.auc_high) for row in combinations.itertuples()]
    shown["AUC of the baseline"] = combinations["auc_baseline"].map(number)
    frame = combinations.copy()
    if found is not None:
        for method, own in found.groupby("method", sort=False):
            own = combinations[columns].merge(own, on=columns, how="left")
            shown[method_title(method)] = [_found(row) for row in own.to_dict("records")]
            for name in [*FIGURES, "n_found", "found"]:
                frame[f"{method}_{name}"] = own[name].to_numpy()
    caption = (
        f"{'Simulated data. ' if simulated else ''}AUC by subject, within folds: mean over repeats "
        f"({describe_repeats(repeated)}) with its 95 % interval "
        f"({'over subjects' if same_scans else 'Student, over repeats'}). "
    )
    if found is not None:
        caption += (
            f"Methods: AUPRC over regions for {describe_planted(columns)}, mean over repeats {_beside(found)} For "
            f"permuted regions, the mean AUPRC is {number(found['region_chance'].mean())} and the 95th percentile "
            f"{number(found['null_95'].mean())}. "
        )
    if refused:
        words = [", ".join(value for key, value in row.items() if key != "reason") for row in refused]
        caption += f"Combinations that are not possible: {listing([f'({word})' for word in words])}."
    title = "Accuracy and heatmaps by choice"
    return publish_table(frame, shown, out, title=title, caption=caption.strip(), category="comparison")


def _found(row):
    if not row["n_repeats"] > 0:
        return "–"  # a combination without this method
    shuffled = f"; {number(row['shuffled_auprc'])}" if row["n_shuffled"] else ""
    star = "*" if row["found"] else ""
    return f"{number(row['region_auprc'])}{star} ({number(row['least'])} to {number(row['most'])}{shuffled})"


def _beside(found):
    if (found["n_shuffled"] > 0).any():
        return (
            "(range; mean of the same networks trained on shuffled diagnoses). *: larger than these networks' "
            f"(rank test of the mean over repeats, corrected over methods, p ≤ 0.05; needs {LEAST_DRAWS} draws)."
        )
    return "(range). Without networks trained on shuffled diagnoses there is no verdict."


def publish_null(claims, regions, aucs, out, *, atlas, top, simulated):
    """Publish one row per method: how often it claims an atrophy that does not exist, and which regions it favours."""
    shown = pd.DataFrame({"method": [_title(name) for name in claims["method"]]})
    shown["AUPRC"] = claims["region_auprc"].map(number)
    shown["of shuffled diagnoses"] = claims["shuffled_auprc"].map(number)
    shown["permuted regions: p ≤ 0.05"] = [_share(row, "permuted") for _, row in claims.iterrows()]
    if claims["n_earlier"].notna().any():
        shown["claims by the earlier rule"] = [_share(row, "earlier") for _, row in claims.iterrows()]
    shown["shuffled diagnoses: p ≤ 0.05"] = [_share(row, "shuffled") for _, row in claims.iterrows()]
    shown["claims of a study"] = [_share(row, "claims") for _, row in claims.iterrows()]
    if claims["n_regions"].notna().any():
        shown["regions by class"] = [_share(row, "regions") for _, row in claims.iterrows()]
    favoured = regions[regions["p_holm"] < 0.05]
    shown[f"too often among the top {top} regions"] = [
        listing([f"{r.region} ({r.n_top})" for r in favoured[favoured["method"] == name].itertuples()])
        or ("" if name in (ANY, AUDIT) else "none")
        for name in claims["method"]
    ]
    mean, low, high = aucs
    drawn = claims["shuffled_auprc"].notna().any()
    shuffled = ", and that of networks trained on shuffled diagnoses" if drawn else "; without shuffled diagnoses"
    caption = (
        f"{'Simulated data. ' if simulated else ''}{int(claims['n'].max())} cohorts without any planted atrophy. Mean "
        f"AUC within folds {interval(mean, low, high)} (95 %, Student). AUPRC: mean, for the regions that an effect of "
        f"1 would have changed (chance by permuted regions {claims['region_chance'].mean():.2f}){shuffled}. p ≤ 0.05: "
        "number of cohorts in which a method alone reaches this. Claims: cohorts in which a study would report a "
        "detection, corrected over methods (earlier rule: better than permuted regions and, by Student's t, than five "
        "draws of shuffled diagnoses, with Holm's correction). Intervals are exact 95 % intervals; the nominal rate is "
        f"0.05. {_of_trust(claims)}Last column: regions of {atlas} that are among the top {top} (by enrichment in "
        "patients' maps) more "
        "often than regions of similar size, Holm-corrected over regions, with the number of cohorts."
    )
    title = "Detections that methods claim where nothing was planted"
    return publish_table(claims, shown, out, title=title, caption=caption, category="comparison")


def _of_trust(claims):
    """What the caption says of the section Trust, as far as the runs have kept it."""
    words = ""
    if claims["n_regions"].notna().any():
        words += (
            "Regions by class: cohorts in which a study would report any region whose relevance differs between the "
            "classes, corrected over regions, but not over methods. "
        )
    if AUDIT in set(claims["method"]):
        words += (
            "Audit of shortcuts: claims are cohorts in which it raises any property that the score follows or in which "
            "the classes differ (corrected over all of them). "
        )
    return words


def publish_confounds(combinations, table, columns, out, *, same_scans, simulated):
    """Publish one row per combination and method: accuracy, top regions, and whether the disease is detected."""
    full = combinations[[*columns, "auc", "auc_low", "auc_high", "n_subjects"]].merge(table, on=columns)
    audited = "n_audited" in full and (full["n_audited"] > 0).any()
    shown = full[columns].copy()
    shown["AUC"] = [interval(row.auc, row.auc_low, row.auc_high) for row in full.itertuples()]
    if audited:
        shown["AUC of the properties"] = full["auc_properties"].map(number)
        shown["raised by the audit"] = [(row.raised or "nothing") if row.n_audited else "" for row in full.itertuples()]
    shown["method"] = full["method"].map(method_title)
    shown["AUPRC of the planted regions"] = full["region_auprc"].map(number)
    shown["of shuffled diagnoses"] = full["shuffled_auprc"].map(number)
    shown["detected"] = ["yes" if row.found else "no" for row in full.itertuples()]
    shown["relevance outside the brain"] = full["share_outside"].map(number)
    shown["like the first row"] = full["like_first"].map(number)
    shown["top regions"] = full["first_regions"]
    caption = (
        f"{'Simulated data. ' if simulated else ''}AUC: within folds, mean over repeats with its 95 % interval "
        f"({'over subjects' if same_scans else 'Student, over repeats'}). AUPRC over regions for the regions of the "
        f"disease (with effect 0, those that it would have); chance {number(full['region_chance'].mean())}. Like the "
        "first row: Spearman's correlation over regions with the map of the same method in the first combination. "
        "Top regions: those with the largest enrichment in patients' maps."
    )
    if audited:
        caption += (
            " Properties: those that the audit of shortcuts tests; AUC of a logistic regression on all of them, and "
            "those that it raises, with the number of repeats (corrected over all tests of a study, p ≤ 0.05)."
        )
    title = "Regions that methods highlight when a confound separates the classes"
    return publish_table(full, shown, out, title=title, caption=caption, category="comparison")


def publish_detections(combinations, found, columns, out, *, question, simulated):
    """Publish one row per combination: AUC, and each method's AUPRC over cohorts with the cohorts in which it detects.

    Parameters
    ----------
    combinations, found : DataFrames of `summary.combination_table` and `detections.detection_table`
    question : str, sizes or signals
    """
    named = "subjects" if question == "sizes" else "structure"
    shown = combinations[columns].rename(columns={columns[0]: named})
    shown["cohorts"] = combinations["n_repeats"]
    if question == "signals":
        shown["subjects"] = combinations["n_subjects"]
    rows = combinations.to_dict("records")
    for title, name in (("AUC", "auc"), ("AUC of the baseline", "auc_baseline")):
        shown[title] = [interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for row in rows]
    for method, own in found.groupby("method", sort=False):
        own = combinations[columns].merge(own, on=columns, how="left")
        shown[method_title(method)] = [_detected(row) for row in own.to_dict("records")]
    what = {
        "sizes": "the planted loss of volume, in cohorts of so many subjects, half of them patients",
        "signals": "the structure whose volume for their age, above or below the median, classes healthy people",
    }[question]
    chance, draws = number(found["region_chance"].mean()), int(found["n_shuffled"].min())
    caption = (
        f"{'Simulated data. ' if simulated else ''}Agreement of the maps with {what}. AUC within folds, by subject. "
        "Methods: AUPRC over regions ranked by enrichment (mean AUPRC of the same networks trained on shuffled "
        f"{'diagnoses' if question == 'sizes' else 'classes'}, {draws} draws), then the cohorts in which the method "
        "detects (p at most 0.05 among these networks, corrected over methods) with the exact 95 % interval of their "
        f"share. Other intervals are Student's (95 %) over cohorts. For permuted regions, the mean AUPRC is {chance}."
    )
    titles = {
        "sizes": "Accuracy and detections by number of subjects",
        "signals": "Detection of the structure that separates the classes",
    }
    full = combinations[[*columns, *(name for name in combinations if name.startswith("auc"))]].merge(found, on=columns)
    return publish_table(full, shown, out, title=titles[question], caption=caption, category="comparison")


def _detected(row):
    auprc = interval(row["region_auprc"], row["auprc_low"], row["auprc_high"])
    share = f"{row['found_low']:.2f} to {row['found_high']:.2f}"
    return f"{auprc} ({number(row['shuffled_auprc'])}); {int(row['n_found'])} of {int(row['n_cohorts'])} ({share})"


def _title(method):
    return {ANY: "any method of a study", AUDIT: "audit of shortcuts"}.get(method) or method_title(method)


def _share(row, kind):
    if np.isnan(row[f"n_{kind}"]):
        return ""
    return f"{int(row[f'n_{kind}'])} of {int(row['n'])} ({row[f'{kind}_low']:.2f} to {row[f'{kind}_high']:.2f})"
