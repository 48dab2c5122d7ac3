"""Summary of a comparison: accuracy, and agreement with the planted disease, by combination and over repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from voxelwhy.comparison.audits import NOMINAL, audit_facts, raised_in, region_facts
from voxelwhy.comparison.combinations import short_names
from voxelwhy.evaluation.chance import compare_with_draws, verdicts
from voxelwhy.evaluation.intervals import exact_interval, student_interval
from voxelwhy.evaluation.metrics import by_subject
from voxelwhy.evaluation.within_folds import average, fold_aucs
from voxelwhy.registry import METHODS

#: Kinds of claims in a null: see `claims_table`.
KINDS = ("permuted", "earlier", "shuffled", "claims", "regions")
#: Rows of a null that are no method: all methods of a study together, and its audit of shortcuts.
ANY, AUDIT = "any method", "audit of shortcuts"


def choice_columns(cells):
    """Return the column names of the choices: {setting: column}."""
    return short_names(list(cells[0]["choices"]))


def methods_of(cell):
    """Return the methods of a run in the order of the registry (JSON sorts them by name)."""
    return sorted(cell["methods"], key=list(METHODS).index)


def cell_table(cells):
    """Make a table with one row per run: choices, repeat, AUC of network and baseline with intervals, n, and audit."""
    rows = []
    for cell in cells:
        row = _choices(cell) | {"repeat": cell["repeat"]}
        for model, auc in cell["auc"].items():
            name = "auc" if model == "cnn" else f"auc_{model}"
            row |= {name: auc["value"], f"{name}_low": auc["low"], f"{name}_high": auc["high"]}
        row |= {key: cell["auc"]["cnn"][key] for key in ("n_subjects", "n_scans")} | audit_facts(cell)
        rows.append(row | {"folder": cell["folder"]})
    return pd.DataFrame(rows)


def method_table(cells, *, baseline=False):
    """Make a table with one row per run and method: choices, repeat, share_outside, and the scores of tables.TRUTH.

    Where runs have kept it: class_regions and class_regions_p, the regions by class and their smallest p_family.

    With `baseline`, the two maps of the baseline follow the methods of each run (without share_outside).
    """
    rows = []
    for cell in cells:
        truth = {row["method"]: row for row in cell["truth"]}
        maps = [method for method in truth if method not in cell["methods"]] if baseline else []
        for method in [*methods_of(cell), *maps]:
            own = cell["methods"].get(method, {})
            row = _choices(cell) | {"repeat": cell["repeat"], "method": method}
            row |= {"share_outside": own.get("share_outside", np.nan)} | region_facts(own)
            rows.append(row | truth.get(method, {}))
    return pd.DataFrame(rows)


def combination_table(cells, *, same_scans, classes):
    """Make a table with one row per combination: mean AUC over repeats with a 95 % interval, and that of the baseline.

    The baseline's own interval is Student's over the repeats, and NaN if these use the same scans.

    Parameters
    ----------
    `cells` : list of dict, of `cells.gather_study` with choices and repeat
    same_scans : bool; whether repeats use the same scans. If so, the interval is that of an AUC by subject, with all
        repeats together, and reflects the variation between subjects. Otherwise it is Student's over the repeats
    """
    rows = []
    for cell in _first_of_each(cells):
        own = [other for other in cells if other["choices"] == cell["choices"]]
        values = np.array([other["auc"]["cnn"]["value"] for other in own])
        if same_scans:
            low, high = _interval_over_subjects(own, values.mean(), classes)
        else:
            low, high = student_interval(values)
        baseline = [other["auc"]["baseline"]["value"] for other in own if "baseline" in other["auc"]]
        row = _choices(cell) | {"n_repeats": len(own), "auc": values.mean(), "auc_low": low, "auc_high": high}
        row |= {"auc_least": values.min(), "auc_most": values.max(), "auc_baseline": np.mean(baseline or np.nan)}
        between = (np.nan, np.nan) if same_scans or not baseline else student_interval(baseline)
        row |= dict(zip(("auc_baseline_low", "auc_baseline_high"), between, strict=True))
        rows.append(row | {"n_subjects": len({s for other in own for s in other["predictions"]["subject_id"]})})
    return pd.DataFrame(rows)


def found_table(methods, columns):
    """Make a table with one row per combination and method: mean regional AUPRC over repeats, range and chance level.

    Parameters
    ----------
    methods : DataFrame of `method_table`
    columns : names of the choices

    Returns
    -------
    DataFrame with

    - region_auprc (mean), least, most
    - region_chance, null_95: mean and 95th percentile over permuted regions
    - shuffled_auprc, n_shuffled: mean over all draws of shuffled diagnoses, and their number in each repeat
    - p, p_family: of the mean over repeats, among the means of their first, second, … draws (`compare_with_draws`),
      corrected over the methods of a combination. A draw is the same permutation in each repeat on the same scans, so
      that repeats which share the true diagnoses share the shuffled ones too
    - n_found: number of repeats in which the study itself detects the disease
    - found: whether the combination as a whole detects it, by p_family of at most 0.05
    - share_inside, share_chance, share_outside
    """
    rows, reference = [], []
    for key, own in methods.groupby([*columns, "method"], sort=False):
        values = own["region_auprc"]
        row = dict(zip([*columns, "method"], key, strict=True)) | {"n_repeats": len(own)}
        row |= {"region_auprc": values.mean(skipna=False), "least": values.min(), "most": values.max()}
        names = ("region_chance", "null_95", "share_inside", "share_chance", "shuffled_auprc", "share_outside")
        row |= {name: own[name].mean() for name in names}
        rows.append(row | {"n_shuffled": int(own["n_shuffled"].min()), "n_found": int(_detects(own).sum())})
        reference.append(np.mean([draws[: rows[-1]["n_shuffled"]] for draws in own["draws"]], axis=0))
    table = pd.DataFrame(rows)
    table[["p", "p_family"]], table["found"] = np.nan, False
    combinations = table.groupby(columns, sort=False).indices.values() if columns else [np.arange(len(table))]
    for place in combinations:
        n = min(len(reference[k]) for k in place)
        draws = np.array([reference[k][:n] for k in place]).T.reshape(n, len(place))
        tested = compare_with_draws(table["region_auprc"].to_numpy()[place], draws)
        table.loc[place, ["p", "p_family"]] = tested[["p", "p_family"]].to_numpy()
        table.loc[place, "found"] = np.array(verdicts(tested["p_family"], n)) == "detected"
    return table


def _detects(methods):
    return methods["verdict"] == "detected"


def confound_table(cells, methods, columns):
    """Make a `found_table` with the three most enriched regions of each combination and method, by the mean of repeats.

    `like_first` is Spearman's correlation over regions with the map of the first combination: near 1 if a method shows
    the same regions in both cohorts.
    """
    table = found_table(methods, columns)
    means = {}
    for cell in _first_of_each(cells):
        own = [other for other in cells if other["choices"] == cell["choices"]]
        for method in cell["methods"]:
            frame = pd.DataFrame([pd.Series(other["methods"][method]["enrichment"]) for other in own])
            means[*_choices(cell).values(), method] = frame.mean()
    first = tuple(_choices(cells[0]).values())
    keys = [tuple(row) for row in table[[*columns, "method"]].to_numpy().tolist()]
    table["first_regions"] = [", ".join(means[key].nlargest(3).index) for key in keys]
    table["like_first"] = [stats.spearmanr(means[key], means[*first, key[-1]]).statistic for key in keys]
    return table


def claims_table(methods, columns, earlier=None, cells=()):
    """Count how often each method claims a detection in runs without any planted disease.

    Returns
    -------
    DataFrame with one row per method, one for all together (ANY) and one for the audit (AUDIT): n (repeats), and for
    each kind of claim

    - n_<kind>, share_<kind>: number and share of repeats
    - <kind>_low, <kind>_high: exact 95 % interval of the share
    - p_<kind>: probability of at least as many at the nominal rate

    Kinds are permuted (p of permuted regions of at most 0.05), earlier (claimed by the earlier rule), shuffled (p of at
    most 0.05 among networks trained on shuffled diagnoses), claims (detected by the rule of a study, corrected over the
    methods) and regions (any region differs between the classes, corrected over the regions; for any method, by any of
    them). The last row is that of the audit of shortcuts, if runs have one: its claims are the runs in which it raises
    any property.

    Parameters
    ----------
    methods : DataFrame of `method_table`
    columns : names of the choices
    earlier : Series of bool by the rows of `methods`, of `detections.earlier_claims`; None if there is none
    `cells` : list of dict, of `cells.gather_study`, for the audit
    """
    rows, by_class = [], _by_class(methods)
    for method, own in methods.groupby("method", sort=False):
        counts = {"permuted": (own["p_regions"] <= NOMINAL).sum(), "claims": _detects(own).sum()}
        if earlier is not None:
            counts["earlier"] = earlier[own.index].sum()
        if by_class is not None:
            counts["regions"] = by_class[own.index].sum()
        if own["p"].notna().any():
            counts["shuffled"] = (own["p"] <= NOMINAL).sum()
        auprc = {"region_auprc": own["region_auprc"].mean(), "shuffled_auprc": own["shuffled_auprc"].mean()}
        rows.append(_rates(method, len(own), counts) | auprc | {"region_chance": own["region_chance"].mean()})
    runs = methods.assign(found=_detects(methods), earlier=earlier, by_class=by_class)
    runs = runs.groupby([*columns, "repeat"], sort=False)
    # The smallest of several uncorrected p has no nominal rate of 0.05, so p alone is not counted for any method.
    counts = {"claims": runs["found"].any().sum()}
    for kind, name, known in (("earlier", "earlier", earlier), ("regions", "by_class", by_class)):
        if known is not None:
            counts[kind] = runs[name].any().sum()
    rows.append(_rates(ANY, runs.ngroups, counts))
    audited = [names for names in map(raised_in, cells) if names is not None]
    if audited:
        rows.append(_rates(AUDIT, len(audited), {"claims": sum(map(bool, audited))}))
    return pd.DataFrame(rows)


def _by_class(methods):
    """Whether any region of a method differs between the classes, by row; None if some runs have not kept that."""
    if "class_regions" not in methods or methods["class_regions"].isna().any():
        return None
    return methods["class_regions"] > 0


def false_regions(cells, *, top):
    """Test which regions are among the `top` of a method more often than others of their size, over repeats of a null.

    The enrichment of a small region varies more than that of a large one, so that small regions are more often among
    the first (and among the last) whatever the method does. Each region is compared with those of its quarter of sizes.

    Returns
    -------
    DataFrame with method, region, n (repeats), n_top, expected (repeats), p (binomial, upper tail) and p_holm (over
        regions)
    """
    rows = []
    for method in methods_of(cells[0]):
        facts = [cell["methods"][method] for cell in cells]
        # Tied regions have the last of their ranks, so that regions without relevance are not among the top.
        ranked = pd.DataFrame([pd.Series(own["enrichment"]) for own in facts]).rank(
            axis=1, ascending=False, method="max"
        )
        counts = (ranked <= top).sum()
        volume = pd.DataFrame([pd.Series(own["volume"]) for own in facts]).mean()[counts.index]
        quarter = (volume.rank(method="first") - 1) * 4 // len(volume)
        share = counts.groupby(quarter).transform("mean") / len(cells)
        p = stats.binom.sf(counts - 1, len(cells), share)
        frame = pd.DataFrame({"region": counts.index, "n_top": counts.to_numpy(), "p": p})
        frame["p_holm"] = multipletests(p, method="holm")[1]
        rows.append(frame.assign(method=method, n=len(cells), expected=share.to_numpy() * len(cells)))
    table = pd.concat(rows, ignore_index=True)[["method", "region", "n", "n_top", "expected", "p", "p_holm"]]
    return table.sort_values(["method", "p", "region"], kind="stable", ignore_index=True)


def _interval_over_subjects(cells, mean, classes):
    """Compute the interval of the mean AUC over repeats in which different networks classify the same subjects."""
    rows = pd.concat([by_subject(pd.DataFrame(cell["predictions"])).assign(repeat=k) for k, cell in enumerate(cells)])
    rows["subject"] = pd.factorize(rows["subject_id"])[0]
    rows["positive"] = rows["label"] == classes["positive"]
    if not np.isfinite(mean):
        return np.nan, np.nan
    n_subjects = rows["subject"].nunique()
    aucs = [
        fold_aucs(own["probability"], own["positive"], own["subject"], own["fold"], n_subjects)
        for _, own in rows.groupby("repeat")
    ]
    return average(aucs).interval()


def _rates(method, n, counts):
    row = {"method": method, "n": n}
    for kind in KINDS:
        k = int(counts[kind]) if kind in counts else None
        low, high = (np.nan, np.nan) if k is None else exact_interval(k, n)
        row |= {f"n_{kind}": np.nan if k is None else k, f"share_{kind}": np.nan if k is None else k / n}
        row |= {f"{kind}_low": low, f"{kind}_high": high}
        row |= {f"p_{kind}": np.nan if k is None else float(stats.binom.sf(k - 1, n, NOMINAL))}
    return row


def _choices(cell):
    names = short_names(list(cell["choices"]))
    return {names[setting]: label for setting, label in cell["choices"].items()}


def _first_of_each(cells):
    seen = []
    for cell in cells:
        if cell["choices"] not in [other["choices"] for other in seen]:
            seen.append(cell)
    return seen
