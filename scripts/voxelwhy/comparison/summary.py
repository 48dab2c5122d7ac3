"""What the cells of a comparison come to: accuracy and truth by combination of choices, over repeats of chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from voxelwhy.comparison.combinations import short_names
from voxelwhy.evaluation.metrics import INTERVAL, subject_weights, weighted_auc
from voxelwhy.evaluation.truth import LEAST_SD, p_of_one_more_draw
from voxelwhy.registry import METHODS

NOMINAL = 0.05
#: Kinds of claims in a null: see `claims_table`.
KINDS = ("permuted", "shuffled", "claims")


def choice_columns(cells):
    """Names of the choices as columns: {setting: column}."""
    return short_names(list(cells[0]["choices"]))


def methods_of(cell):
    """The methods of a cell in the order in which they are known: JSON has them by name."""
    return sorted(cell["methods"], key=list(METHODS).index)


def cell_table(cells):
    """One row a cell: choices, repeat, AUC of the network and of the baseline, each with its interval, and n."""
    rows = []
    for cell in cells:
        row = _choices(cell) | {"repeat": cell["repeat"]}
        for model, auc in cell["auc"].items():
            name = "auc" if model == "cnn" else f"auc_{model}"
            row |= {name: auc["value"], f"{name}_low": auc["low"], f"{name}_high": auc["high"]}
        rows.append(
            row | {key: cell["auc"]["cnn"][key] for key in ("n_subjects", "n_scans")} | {"folder": cell["folder"]}
        )
    return pd.DataFrame(rows)


def method_table(cells):
    """One row a cell and method: choices, repeat, share_outside, and the columns of tables.TRUTH where there is one."""
    rows = []
    for cell in cells:
        truth = {row["method"]: row for row in cell["truth"]}
        for method in methods_of(cell):
            facts = cell["methods"][method]
            row = _choices(cell) | {"repeat": cell["repeat"], "method": method}
            rows.append(row | {"share_outside": facts["share_outside"]} | truth.get(method, {}))
    return pd.DataFrame(rows)


def combination_table(cells, *, same_scans, classes, n_bootstrap=1000, seed=0):
    """One row a combination of choices: mean AUC over its repeats with a 95 % interval, and that of the baseline.

    Parameters
    ----------
    cells : list of dict, of `cells.gather_study` with choices and repeat
    same_scans : bool; whether repeats study the same scans. Then the interval is that of resampled subjects, all
        repeats together: it says how much the subjects matter. Else it is Student's over the repeats
    """
    rows = []
    for cell in _first_of_each(cells):
        own = [other for other in cells if other["choices"] == cell["choices"]]
        values = np.array([other["auc"]["cnn"]["value"] for other in own])
        if same_scans:
            low, high = _bootstrap_of_means(own, classes, n_bootstrap, seed)
        else:
            low, high = mean_interval(values)
        baseline = [other["auc"]["baseline"]["value"] for other in own if "baseline" in other["auc"]]
        row = _choices(cell) | {"n_repeats": len(own), "auc": values.mean(), "auc_low": low, "auc_high": high}
        row |= {"auc_least": values.min(), "auc_most": values.max(), "auc_baseline": np.mean(baseline or np.nan)}
        rows.append(row | {"n_subjects": len({s for other in own for s in other["predictions"]["subject_id"]})})
    return pd.DataFrame(rows)


def found_table(methods, columns, *, same_scans):
    """One row a combination and method: mean regional AUPRC over repeats, its range, and what chance gives.

    Parameters
    ----------
    methods : DataFrame of `method_table`
    columns : names of the choices
    same_scans : bool; whether repeats study the same scans. Then their mean counts as one more draw beside all draws of
        networks trained on shuffled diagnoses: repeats share the true diagnoses, so that they are not independent. Else
        each repeat is a cohort, and what it has above its own draws is one value of a one-sample t test

    Returns
    -------
    DataFrame: region_auprc (mean), least, most; region_chance and null_95 of permuted regions; shuffled_auprc, the mean
        over all draws of shuffled diagnoses, and n_shuffled, their number; p_shuffled, that the AUPRC is above these
        (Student's t), and p_holm over the methods of a combination; n_found, in how many repeats the study itself says
        that it was found; found, of the combination as a whole, by the rule of a study (`evaluation.truth`): mean AUPRC
        above the mean null_95 and p_holm below 0.05; without such draws, found in most repeats; share_inside,
        share_chance, share_outside
    """
    rows = []
    for key, own in methods.groupby([*columns, "method"], sort=False):
        values = own["region_auprc"]
        row = dict(zip([*columns, "method"], key, strict=True)) | {"n_repeats": len(own)}
        row |= {"region_auprc": values.mean(), "least": values.min(), "most": values.max()}
        names = ("region_chance", "null_95", "share_inside", "share_chance", "shuffled_auprc", "share_outside")
        row |= {name: own[name].mean() for name in names}
        row |= {"n_shuffled": int(own["n_shuffled"].sum()), "p_shuffled": _above_shuffled(own, same_scans)}
        rows.append(row | {"n_found": int(own["found"].sum())})
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    combinations = table.groupby(columns, sort=False).indices.values() if columns else [np.arange(len(table))]
    for place in combinations:
        tested = place[np.isfinite(table["p_shuffled"].to_numpy()[place])]
        if len(tested):
            table.loc[tested, "p_holm"] = multipletests(table.loc[tested, "p_shuffled"], method="holm")[1]
    mostly = 2 * table["n_found"] > table["n_repeats"]
    above = (table["p_holm"] < NOMINAL) & (table["region_auprc"] > table["null_95"])
    table["found"] = np.where(table["n_shuffled"] > 0, above, mostly)
    return table


def _above_shuffled(own, same_scans):
    """p that the AUPRC of the repeats lies above that of networks trained on shuffled diagnoses."""
    draws = own["n_shuffled"]
    if not draws.all() or own[["region_auprc", "shuffled_auprc"]].isna().any(axis=None):
        return np.nan
    above = own["region_auprc"] - own["shuffled_auprc"]
    if len(own) > 1 and not same_scans:
        return stats.t.sf(above.mean() / max(above.sem(), LEAST_SD), len(own) - 1)
    n, mean = draws.sum(), np.average(own["shuffled_auprc"], weights=draws)
    within = ((draws - 1) * own["shuffled_sd"] ** 2).sum()
    between = (draws * (own["shuffled_auprc"] - mean) ** 2).sum()
    return p_of_one_more_draw(own["region_auprc"].mean(), mean, np.sqrt((within + between) / (n - 1)), n)


def confound_table(cells, methods, columns, *, same_scans):
    """`found_table`, and of each combination and method the three regions of the largest mean density.

    `like_first` is Spearman's correlation over regions with the map of the first combination: near 1 where a method
    says the same of this cohort as of that one.
    """
    table = found_table(methods, columns, same_scans=same_scans)
    means = {}
    for cell in _first_of_each(cells):
        own = [other for other in cells if other["choices"] == cell["choices"]]
        for method in cell["methods"]:
            frame = pd.DataFrame([pd.Series(other["methods"][method]["density"]) for other in own])
            means[*_choices(cell).values(), method] = frame.mean()
    first = tuple(_choices(cells[0]).values())
    keys = [tuple(row) for row in table[[*columns, "method"]].to_numpy().tolist()]
    table["first_regions"] = [", ".join(means[key].nlargest(3).index) for key in keys]
    table["like_first"] = [stats.spearmanr(means[key], means[*first, key[-1]]).statistic for key in keys]
    return table


def claims_table(methods, columns):
    """Of cells in which nothing was planted: how often each method claims to have found something all the same.

    Returns
    -------
    DataFrame, one row a method and one ("any method") for the whole: n (repeats), and of each kind of claim its number
        n_<kind>, share_<kind>, its exact 95 % interval <kind>_low and <kind>_high, and p_<kind>, how likely so many or
        more are at the nominal rate. Kinds are permuted (p of permuted regions below 0.05), shuffled (p_shuffled below
        0.05, against networks trained on shuffled diagnoses) and claims (found, as a study says it, Holm-corrected)
    """
    rows = []
    for method, own in methods.groupby("method", sort=False):
        counts = {"permuted": (own["p"] < NOMINAL).sum(), "claims": own["found"].sum()}
        if own["p_shuffled"].notna().any():
            counts["shuffled"] = (own["p_shuffled"] < NOMINAL).sum()
        auprc = {"region_auprc": own["region_auprc"].mean(), "shuffled_auprc": own["shuffled_auprc"].mean()}
        rows.append(_rates(method, len(own), counts) | auprc | {"region_chance": own["region_chance"].mean()})
    cells = methods.groupby([*columns, "repeat"], sort=False)
    # That some uncorrected p is below 0.05 among several methods is no claim of a study, and has no nominal rate.
    rows.append(_rates("any method", cells.ngroups, {"claims": cells["found"].any().sum()}))
    return pd.DataFrame(rows)


def false_regions(cells, *, top):
    """Regions that stand among the `top` of a method's map more often than chance has it, over repeats of a null.

    Returns
    -------
    DataFrame: method, region, n (repeats), n_top, expected (repeats), p (binomial, upper tail), p_holm (over regions)
    """
    rows = []
    for method in methods_of(cells[0]):
        tables = [pd.Series(cell["methods"][method]["density"]) for cell in cells]
        # Regions that are equal have the last of their ranks: what has no relevance is among the first of nothing.
        ranked = pd.DataFrame(tables).rank(axis=1, ascending=False, method="max")
        counts = (ranked <= top).sum()
        share = min(top / ranked.shape[1], 1.0)
        p = stats.binom.sf(counts - 1, len(cells), share)
        frame = pd.DataFrame({"region": counts.index, "n_top": counts.to_numpy(), "p": p})
        frame["p_holm"] = multipletests(p, method="holm")[1]
        rows.append(frame.assign(method=method, n=len(cells), expected=share * len(cells)))
    table = pd.concat(rows, ignore_index=True)[["method", "region", "n", "n_top", "expected", "p", "p_holm"]]
    return table.sort_values(["method", "p", "region"], kind="stable", ignore_index=True)


def mean_interval(values):
    """Student's 95 % interval of a mean; NaN of fewer than two values."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def _bootstrap_of_means(cells, classes, n_bootstrap, seed):
    """Interval of the mean AUC over repeats: every resample of subjects gives an AUC in each repeat."""
    pooled = pd.concat([pd.DataFrame(cell["predictions"]).assign(of=k) for k, cell in enumerate(cells)])
    scores, positive = pooled["probability"].to_numpy(), (pooled["label"] == classes["positive"]).to_numpy()
    own = [(pooled["of"] == k).to_numpy() for k in range(len(cells))]
    means = [
        np.ma.masked_invalid([weighted_auc(scores[rows], positive[rows], weights[:, rows]) for rows in own]).mean(
            axis=0
        )
        for weights in subject_weights(pooled["subject_id"], n_bootstrap, seed)
    ]
    known = np.ma.concatenate(means).compressed()
    return tuple(np.percentile(known, INTERVAL)) if len(known) else (np.nan, np.nan)


def _rates(method, n, counts):
    row = {"method": method, "n": n}
    for kind in KINDS:
        k = int(counts[kind]) if kind in counts else None
        low, high = (np.nan, np.nan) if k is None else proportion_confint(k, n, method="beta")
        # Of none and of all the exact interval has one end only.
        row |= {f"n_{kind}": np.nan if k is None else k, f"share_{kind}": np.nan if k is None else k / n}
        row |= {f"{kind}_low": 0.0 if k == 0 else low, f"{kind}_high": 1.0 if k == n else high}
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
