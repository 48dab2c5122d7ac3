"""Tables: the same rows as tsv (full precision), md and tex (rounded), and as JSON for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.io.images import write_json
from voxelwhy.io.text import count, interval, listing, method_title, number, p_value, people
from voxelwhy.report.wording import INTERVALS, METRIC_TITLES, describe_other, describe_settings

#: Values are rounded before they are written, so LaTeX tables hold text only; these characters need an escape in it.
_TEX_ESCAPES = {character: f"\\{character}" for character in "&%_#{}$"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "−": "$-$",
    "ρ": r"$\rho$",
    "³": "$^3$",
    "⁻": "$^-$",
}


def publish_table(frame, shown, out, *, title, caption, category):
    """Write a table in every format.

    Parameters
    ----------
    frame : DataFrame with full precision, for the tsv
    shown : DataFrame of str, the same rows as displayed, for md, tex and the report
    out : path without suffix; writes .tsv, .md, .tex, .json
    title, caption : str; the caption gives n, method and settings
    category : str, the report's section (voxelwhy.report.sections.SECTIONS)

    Returns
    -------
    str, the caption
    """
    stem = Path(out)
    stem.parent.mkdir(parents=True, exist_ok=True)
    shown = shown.astype(str)
    frame.to_csv(f"{stem}.tsv", sep="\t", index=False, lineterminator="\n", float_format="%.10g")
    markdown = shown.to_markdown(index=False, disable_numparse=True)
    Path(f"{stem}.md").write_text(f"**{title}.** {caption}\n\n{markdown}\n", encoding="utf-8")
    Path(f"{stem}.tex").write_text(_latex(shown, title, caption, stem.name), encoding="utf-8")
    content = {"title": title, "caption": caption, "category": category, "kind": "table"}
    write_json(f"{stem}.json", content | {"columns": list(shown.columns), "rows": shown.to_numpy().tolist()})
    return caption


def _latex(shown, title, caption, label):
    escaped = shown.map(_escape).rename(columns=_escape)
    return escaped.to_latex(
        index=False, escape=False, caption=_escape(f"{title}. {caption}"), label=f"tab:{label}", position="htbp"
    )


def _escape(text):
    return "".join(_TEX_ESCAPES.get(character, character) for character in str(text))


def publish_metrics(metrics, out, *, model_titles, n_permutations, difference=None, of=""):
    """Performance of each model by subject and by scan, folds pooled; the tsv also holds single folds.

    Parameters
    ----------
    metrics : DataFrame by the METRICS schema
    model_titles : {model: displayed name}
    n_permutations : int, number of permutations of the diagnoses
    difference : DataFrame by the DIFFERENCES schema, optional; a row between those by subject and those by scan
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    rows = _metric_rows(metrics, model_titles, "subject")
    caption_of_difference = ""
    if difference is not None:
        rows.append(_difference_row(difference))
        tests = ", ".join(f"{METRIC_TITLES[row.metric]} {row.test}" for row in difference.itertuples())
        caption_of_difference = f" Difference: network minus baseline, by subject, with the p of its test ({tests})."
    rows += _metric_rows(metrics, model_titles, "scan")
    n = metrics.iloc[0]
    caption = (
        f"Out-of-sample performance, folds pooled; n = {people(n['n_subjects'], n['n_scans'], of)}. By subject: mean "
        f"probability over a subject's scans of one diagnosis{' by one model' if of else ''}; a subject with scans of "
        f"both classes is counted once in each. {INTERVALS} p (chance): of the AUC, from {n_permutations:,} "
        f"permutations of the subjects' diagnoses within folds.{caption_of_difference}"
    )
    return publish_table(metrics, pd.DataFrame(rows), out, title="Performance", caption=caption, category="performance")


def _metric_rows(metrics, model_titles, level, **columns):
    """One row per model, folds pooled, as displayed."""
    rows, pooled = [], metrics[(metrics["fold"] == "all") & (metrics["level"] == level)]
    for model, title in model_titles.items():
        part = pooled[pooled["model"] == model].set_index("metric")
        row = columns | {"Model": title, "By": level}
        row |= {name: interval(*part.loc[key, ["value", "low", "high"]]) for key, name in METRIC_TITLES.items()}
        rows.append(row | {"p (chance)": _p(part.loc["auc", "p"])})
    return rows


def _difference_row(difference):
    known = difference.set_index("metric")
    cells = dict.fromkeys(METRIC_TITLES.values(), "–")
    for metric, row in known.iterrows():
        cells[METRIC_TITLES[metric]] = f"{interval(row['difference'], row['low'], row['high'])}, {p_value(row['p'])}"
    return {"Model": "Difference", "By": "subject"} | cells | {"p (chance)": "–"}


def publish_regions(tables, out, *, group, settings, atlas="AAL", top=10, of=""):
    """The regions with the largest share of relevance, one column per method; the tsv holds every region.

    Parameters
    ----------
    tables : {method: DataFrame by the REGIONS schema}
    group : str, a group of scans in the tables
    settings : dict, the study's heatmap settings
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    chosen = {method: table[table["group"] == group].sort_values("rank") for method, table in tables.items()}
    shown = {"Rank": [str(rank) for rank in range(1, top + 1)]}
    for method, table in chosen.items():
        cells = [
            f"{row.region} {interval(100 * row.share, 100 * row.share_low, 100 * row.share_high, 1)}"
            for row in table.head(top).itertuples()
        ]
        shown[method_title(method)] = cells + [""] * (top - len(cells))
    frame = pd.concat([table.assign(method=method) for method, table in chosen.items()], ignore_index=True)
    n = frame.iloc[0]
    caption = (
        f"The {top} {atlas} regions with the largest share of positive relevance in {group} scans: mean over subjects "
        f"in %, with its 95 % interval over subjects (from 8 subjects on), given these networks; n = "
        f"{people(n['n_subjects'], n['n_scans'], of)}. {describe_settings(settings)}"
    )
    title = f"Relevance by region, {group}"
    return publish_table(frame, pd.DataFrame(shown), out, title=title, caption=caption, category="regions")


def publish_imported(tables, cards, out, *, group, atlas="AAL", top=10):
    """The regions with the largest share of relevance in imported maps, one column per map; the tsv holds every region.

    Parameters
    ----------
    tables : list of DataFrame by the IMPORTED schema, of one group
    cards : list of dict from `heatmaps.imported.import_heatmap`, in the same order
    group : str, as the config has it
    """
    shown = {"Rank": [str(rank) for rank in range(1, top + 1)]}
    for table, card in zip(tables, cards, strict=True):
        best = table.sort_values("rank").head(top)
        cells = [f"{row.region} {number(100 * row.share, 1)}" for row in best.itertuples()]
        shown[method_title(card["name"])] = cells + [""] * (top - len(cells))
    described = "; ".join(describe_other(card) for card in cards)
    caption = (
        f"The {top} {atlas} regions with the largest share of positive relevance, in %, in imported maps of {group} "
        f"scans, which were not computed by this study: {described}. A mean map has no interval over subjects."
    )
    title = f"Relevance by region in imported heatmaps, {group}"
    frame = pd.concat(tables, ignore_index=True)
    return publish_table(frame, pd.DataFrame(shown), out, title=title, caption=caption, category="regions")


def publish_truth(truth, out, *, group, n_subjects, n_scans, settings):
    """Each method compared with the planted disease, every measure with its value expected by chance.

    Parameters
    ----------
    truth : DataFrame by the TRUTH schema
    n_subjects, n_scans : int, over which the maps are averaged
    settings : dict, the study's heatmap settings
    """
    shown = pd.DataFrame(
        {
            "Method": truth["method"].map(method_title),
            "AUPRC regions (chance)": _beside(truth, "region_auprc", "region_chance"),
            "95th percentile of null": truth["null_95"].map(number),
            "p": truth["p"].map(_p),
            "p (Holm)": truth["p_holm"].map(_p),
            "Detected": np.where(truth["found"], "yes", "no"),
            "AUPRC voxels (chance)": _beside(truth, "voxel_auprc", "voxel_chance"),
            "Relevance inside (chance)": _beside(truth, "share_inside", "share_chance"),
            "ρ regions (chance)": _beside(truth, "region_spearman", "spearman_chance"),
        }
    )
    row = truth.iloc[0]
    reference = "Holm correction"
    if draws := row.get("n_shuffled", 0):
        reference = f"p (Holm): from {draws} draws of networks trained on shuffled diagnoses, with Holm correction"
    caption = (
        f"Mean map of {group} scans ({people(n_subjects, n_scans)}; each scaled to a sum of absolute values of 1) "
        f"compared with the planted disease: {row['n_truth_voxels']:,} of {row['n_voxels']:,} brain voxels with a "
        f"|log-Jacobian| above {row['threshold']:g}, and {row['n_truth_regions']} of {row['n_regions']} regions with a "
        f"mean above it. Null and p: {row['n_permutations']:,} permutations of the regions, in which left and right "
        f"move together. {reference} over n = {len(truth)} methods. {describe_settings(settings)}"
    )
    return publish_table(truth, shown, out, title="Planted truth", caption=caption, category="truth")


def _beside(frame, value, chance):
    return [f"{number(v)} ({number(c)})" for v, c in zip(frame[value], frame[chance], strict=True)]


def _p(value):
    return number(value, 4) if not value < 1e-4 else "<0.0001"


def publish_agreement(agreement, out, *, n_subjects, n_scans, settings, of=""):
    """Distances and rank correlations of the mean maps over `n_subjects` and `n_scans`, by the methods of `settings`.

    Parameters
    ----------
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    shown = pd.DataFrame(
        {
            "Compared": agreement["comparison"],
            "Group": agreement["group"],
            "First": agreement["first"].map(method_title),
            "Second": agreement["second"].map(method_title),
            "Scaling": agreement["scaling"],
            "Distance": agreement["distance"].map("{:.3g}".format),
            "ρ": agreement["spearman"].map(number),
        }
    )
    caption = (
        "Euclidean distance (raw, or scaled to a sum of absolute values of 1) and Spearman rank correlation ρ of mean "
        f"maps over n = {int(agreement['n_voxels'].max()):,} brain voxels. The maps are means, without intervals, over "
        f"{people(n_subjects, n_scans, of)}. {describe_settings(settings)}"
    )
    title = "Distances between mean maps"
    return publish_table(agreement, shown, out, title=title, caption=caption, category="agreement")


def publish_table1(table1, out, *, of=""):
    """Table 1: subjects, scans, class, age and sex by fold and side, as written by the rule audit_folds.

    Parameters
    ----------
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    n_folds, whole = table1.loc[table1["fold"] != "all", "fold"].nunique(), table1.iloc[0]
    shown = table1.copy()
    for name in shown.select_dtypes("float"):
        shown[name] = shown[name].map(lambda value: number(value, 1))
    shown = shown.astype(object).where(table1.notna(), "–")
    shown.columns = [str(name).replace("_", " ") for name in shown.columns]
    by_fold = f" by fold and side ({count(n_folds, 'fold')}; " if n_folds else " ("
    caption = (
        f"The cohort{by_fold}n = {people(whole['subjects'], whole['scans'], of)}). "
        "Scans are counted by their own label; a subject is counted as positive if any of its scans is. Age: years at "
        "the first scan, mean (SD)."
    )
    return publish_table(table1, shown, out, title="Table 1", caption=caption, category="cohort")


def publish_excluded(excluded, out, *, classes):
    """What the study does not use, by stage and reason, and by class, since atrophied brains fail more often.

    Parameters
    ----------
    excluded : DataFrame by the EXCLUDED schema
    classes : {"positive": name, "negative": name}
    """
    names = [classes["positive"], classes["negative"]]
    rows = [
        {"Stage": stage, "Reason": reason}
        | {name: int((part["label"] == name).sum()) for name in names}
        | {"other or unknown": int((~part["label"].isin(names)).sum()), "all": len(part)}
        for (stage, reason), part in excluded.groupby(["stage", "reason"], sort=True)
    ]
    shown = pd.DataFrame(rows, columns=["Stage", "Reason", *names, "other or unknown", "all"])
    caption = f"Table rows and scans that the study does not use (n = {len(excluded)}), by stage, reason and class."
    return publish_table(excluded, shown, out, title="Excluded rows and scans", caption=caption, category="cohort")


def publish_external(tables, out, *, split, n_models, model_titles):
    """Every metric by subject and by scan with its interval, by cohort and model; the tsv also holds single models.

    Parameters
    ----------
    tables : {cohort: DataFrame by the METRICS schema}; the study's own test scans first
    out : path without suffix
    split : str, the split whose models are tested; n_models : int
    model_titles : {model: displayed name}

    Returns
    -------
    str, the caption
    """
    rows = []
    for level in ("subject", "scan"):
        for cohort, table in tables.items():
            n = table.iloc[0]
            counts = {"Tested on": cohort, "Subjects": n["n_subjects"], "Scans": n["n_scans"]}
            rows += _metric_rows(table, model_titles, level, **counts)
    caption = (
        f"The {count(n_models, 'model')} of {split} tested out of sample on {listing(tables)}, models pooled. "
        f"{INTERVALS} All classifications of a subject's scans, by all models, count as one subject. Scans of another "
        "study are classified by each model, normalised with the parameters of its training scans. p (chance): of the "
        "AUC, from permutations of the subjects' diagnoses."
    )
    frame = pd.concat([table.assign(tested_on=cohort) for cohort, table in tables.items()], ignore_index=True)
    title = f"Internal and external performance, {split}"
    return publish_table(frame, pd.DataFrame(rows), out, title=title, caption=caption, category="external")
