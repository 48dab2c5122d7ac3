"""Tables: the same rows as tsv (full precision), md and tex (rounded), and as JSON for the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from voxelwhy.io.images import write_json
from voxelwhy.io.text import count, interval, listing, number, p_value, people
from voxelwhy.report.wording import INTERVALS, METRIC_TITLES, POOLED_TITLES, describe_auc, has_folds

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
    """Performance of each model by subject and by scan, over all folds; the tsv also holds single folds.

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
        rows.append(_difference_row(difference, _titles(metrics)))
        tested = difference[difference["metric"].isin(METRIC_TITLES)]
        tests = ", ".join(f"{METRIC_TITLES[row.metric]} {row.test}" for row in tested.itertuples())
        caption_of_difference = f" Difference: network minus baseline, by subject, with the p of its test ({tests})."
    rows += _metric_rows(metrics, model_titles, "scan")
    n = metrics.iloc[0]
    caption = (
        f"Out-of-sample performance, all folds; n = {people(n['n_subjects'], n['n_scans'], of)}. By subject: mean "
        f"probability over a subject's scans of one diagnosis{' by one model' if of else ''}; a subject with scans of "
        f"both classes is counted once in each. {describe_auc(metrics, pooled=True)}{INTERVALS} p (chance): of the "
        f"AUC, from {n_permutations:,} permutations of the subjects' diagnoses within folds.{caption_of_difference}"
    )
    return publish_table(metrics, pd.DataFrame(rows), out, title="Performance", caption=caption, category="performance")


def _metric_rows(metrics, model_titles, level, **columns):
    """One row per model, over all folds, as displayed."""
    rows, of_all = [], metrics[(metrics["fold"] == "all") & (metrics["level"] == level)]
    for model, title in model_titles.items():
        part = of_all[of_all["model"] == model].set_index("metric")
        row = columns | {"Model": title, "By": level}
        row |= {name: interval(*part.loc[key, ["value", "low", "high"]]) for key, name in _titles(metrics).items()}
        rows.append(row | {"p (chance)": short_p(part.loc["auc", "p"])})
    return rows


def _titles(metrics):
    return METRIC_TITLES | (POOLED_TITLES if has_folds(metrics) else {})


def _difference_row(difference, titles):
    cells = dict.fromkeys(titles.values(), "–")
    for metric, row in difference[difference["metric"].isin(titles)].set_index("metric").iterrows():
        cells[titles[metric]] = f"{interval(row['difference'], row['low'], row['high'])}, {p_value(row['p'])}"
    return {"Model": "Difference", "By": "subject"} | cells | {"p (chance)": "–"}


def short_p(value):
    """A p value in a cell: 0.0312, or <0.0001."""
    return number(value, 4) if not value < 1e-4 else "<0.0001"


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
    rows, metrics = [], next(iter(tables.values()))
    for level in ("subject", "scan"):
        for cohort, table in tables.items():
            n = table.iloc[0]
            counts = {"Tested on": cohort, "Subjects": n["n_subjects"], "Scans": n["n_scans"]}
            rows += _metric_rows(table, model_titles, level, **counts)
    caption = (
        f"The {count(n_models, 'model')} of {split} tested out of sample on {listing(tables)}, all models. "
        f"{describe_auc(metrics, pooled=True)}{INTERVALS} All classifications of a subject's scans, by all models, "
        "count as one subject. Scans of another study are classified by each model, normalised with the parameters of "
        "its training scans. p (chance): of the AUC, from permutations of the subjects' diagnoses."
    )
    frame = pd.concat([table.assign(tested_on=cohort) for cohort, table in tables.items()], ignore_index=True)
    title = f"Internal and external performance, {split}"
    return publish_table(frame, pd.DataFrame(rows), out, title=title, caption=caption, category="external")
