"""What a comparison found, in sentences that are computed from its tables: each names the columns it rests on."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.comparison.summary import ANY, AUDIT
from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import count, interval, listing, method_name, method_title, number

#: How far below the baseline's AUC that of a network may lie and still count as equal.
MARGIN = 0.01
#: A map is called right at a number of subjects if the method detects in this share of the cohorts or more.
MOST = 0.8
#: Enrichments are called alike from this rank correlation over regions.
ALIKE = 0.9


def write_findings(sentences, path):
    """Write sentences as a list in Markdown."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(f"- {sentence}\n" for sentence in sentences), encoding="utf-8")


def of_choices(combinations, found, columns):
    """What a comparison of choices found.

    Parameters
    ----------
    combinations : DataFrame of `summary.combination_table`
    found : DataFrame of `summary.found_table`; None if no planted disease is known
    columns : names of the choices

    Returns
    -------
    list of str
    """
    sentences = [_extremes(combinations, columns)]
    known = combinations.dropna(subset=["auc_baseline"])
    if len(known):
        level = int((known["auc"] >= known["auc_baseline"] - MARGIN).sum())
        sentences.append(
            f"In {level} of {len(known)} combinations the AUC of the network is at least that of the baseline minus "
            f"{MARGIN:g}; the difference is {number((known['auc'] - known['auc_baseline']).mean())} on average "
            "(columns *AUC*, *AUC of the baseline*)."
        )
    sentences += [_by_value(combinations, name) for name in columns if combinations[name].nunique() > 1]
    if found is None:
        return sentences
    return sentences + ([_detections(found, columns)] if _judged(found) else [_without_verdict()])


def _extremes(combinations, columns):
    best, worst = (combinations.loc[combinations["auc"].agg(which)] for which in ("idxmax", "idxmin"))
    named = [
        f"{interval(row['auc'], row['auc_low'], row['auc_high'])} with {listing(row[columns])}" for row in (best, worst)
    ]
    return f"The AUC of the network ranges from {named[1]} to {named[0]} (column *AUC*)."


def _by_value(combinations, name):
    means = combinations.groupby(name, sort=False)["auc"].agg(["mean", "size"])
    words = [f"{number(row['mean'])} with {value} (n = {int(row['size'])})" for value, row in means.iterrows()]
    return f"Mean AUC over combinations by *{name}*: {listing(words)} (column *AUC*)."


def _judged(found):
    return (found["n_shuffled"] >= LEAST_DRAWS).all()


def _without_verdict():
    return f"With fewer than {LEAST_DRAWS} draws of shuffled diagnoses there is no verdict on any method."


def _detections(found, columns):
    n = found.groupby(columns).ngroups if columns else 1
    counts = found.groupby("method", sort=False)["found"].sum().sort_values(ascending=False, kind="stable")
    words = [f"{method_name(method)} {int(k)}" for method, k in counts.items()]
    return f"Detections, in {n} combinations: {listing(words)} (stars in the columns of the methods)."


def of_null(claims, aucs, regions):
    """What cohorts without any planted disease show.

    Parameters
    ----------
    claims : DataFrame of `summary.claims_table`
    aucs : (mean, low, high) of the AUC over cohorts
    regions : DataFrame of `summary.false_regions`
    """
    own, family = claims[~claims["method"].isin([ANY, AUDIT])], claims[claims["method"] == ANY].iloc[0]
    n = int(family["n"])
    sentences = [f"The mean AUC of the network over {n} cohorts is {interval(*aucs)} (Student; caption of the table)."]
    sentences.append(_range_of_claims(own, "permuted", "By a permutation of the regions, methods are significant", n))
    if own["n_earlier"].notna().any():
        sentences.append(_range_of_claims(own, "earlier", "By the earlier rule, methods claim a detection", n))
        sentences.append(f"By the earlier rule, any method does so {_exact(family, 'earlier')} (its last row).")
    if own["n_shuffled"].notna().any():
        words = "By comparison with shuffled diagnoses, and alone, methods are significant"
        sentences.append(_range_of_claims(own, "shuffled", words, n))
        sentences.append(_range_of_claims(own, "claims", "By the rule of a study, methods claim a detection", n))
        sentences.append(
            f"A study claims a detection by any method {_exact(family, 'claims')}; the nominal rate is 0.05 (column "
            "*claims of a study*, last row)."
        )
    if own["n_regions"].notna().any():
        words = "Regions that differ between the classes (corrected over regions) are claimed by single methods"
        sentences.append(_range_of_claims(own, "regions", words, n))
        sentences.append(
            f"By any method, regions are claimed {_exact(family, 'regions')} (not corrected over methods)."
        )
    for _, row in claims[claims["method"] == AUDIT].iterrows():
        sentences.append(
            f"The audit of shortcuts raises a property {_exact(row, 'claims')}; the nominal rate is 0.05 (row "
            f"*{AUDIT}*)."
        )
    favoured = regions[regions["p_holm"] < 0.05].groupby("method", sort=False).size()
    words = [f"{method_name(method)} {k}" for method, k in favoured.items()]
    sentences.append(
        "Regions that a method ranks first too often although nothing was planted: "
        f"{listing(words) if words else 'none of any method'} (last column)."
    )
    return sentences


_COLUMNS_OF_NULL = {
    "permuted": "permuted regions: p ≤ 0.05",
    "earlier": "claims by the earlier rule",
    "shuffled": "shuffled diagnoses: p ≤ 0.05",
    "claims": "claims of a study",
    "regions": "regions by class",
}


def _range_of_claims(own, kind, words, n):
    counts = own.set_index("method")[f"n_{kind}"].astype(int)
    column = f"(column *{_COLUMNS_OF_NULL[kind]}*)."
    if counts.nunique() == 1:
        return f"{words} in {counts.max()} of {n} cohorts each {column}"
    most = [method_name(name) for name in counts.index[counts == counts.max()]]
    return f"{words} in {counts.min()} to {counts.max()} of {n} cohorts, {listing(most)} most often {column}"


def _exact(row, kind):
    share = interval(row[f"share_{kind}"], row[f"{kind}_low"], row[f"{kind}_high"])
    return f"in {int(row[f'n_{kind}'])} of {int(row['n'])} cohorts, a share of {share}"


def of_confounds(combinations, table, columns):
    """What maps show where something else than the disease separates the classes.

    Parameters
    ----------
    combinations : DataFrame of `summary.combination_table`
    table : DataFrame of `summary.confound_table`
    columns : names of the choices
    """
    sentences = []
    for row in combinations.to_dict("records"):
        own = table[(table[columns] == [row[name] for name in columns]).all(axis=1)]
        found = [method_name(name) for name in own.loc[own["found"], "method"]]
        verdict = f"; detected by {listing(found)}" if found else "; detected by no method"
        sentences.append(
            f"{listing([f'{name} {row[name]}' for name in columns])}: AUC "
            f"{interval(row['auc'], row['auc_low'], row['auc_high'])}{verdict if _judged(own) else ''}"
            f"{_of_audit(own.iloc[0])}."
        )
    others = table.iloc[table["method"].nunique() :]
    alike = others.groupby("method", sort=False)["like_first"].agg(lambda own: int((own >= ALIKE).sum()))
    n = others.groupby("method").size().max()
    words = [f"{method_name(method)} {k}" for method, k in alike.items()]
    sentences.append(
        f"Rows, of {n}, whose map is like that of the first row (rank correlation over regions of at least {ALIKE:g}): "
        f"{listing(words)} (column *like the first row*)."
    )
    return sentences


def _of_audit(row):
    """The part of a sentence that names what the audit of shortcuts raises; empty where no run has an audit."""
    if not row.get("n_audited", 0):
        return ""
    repeats = f"in {int(row['n_raised'])} of {int(row['n_audited'])} repeats"
    if not row["n_raised"]:
        return f"; the audit of shortcuts raises nothing in {count(int(row['n_audited']), 'repeat')}"
    return f"; the audit of shortcuts raises {row['raised']} {repeats} (column *raised by the audit*)"


def of_sizes(combinations, found, size):
    """From how many subjects on methods detect the planted loss.

    Parameters
    ----------
    combinations, found : DataFrames of `summary.combination_table` and `detections.detection_table`
    size : str, the column with the number of subjects
    """
    sentences = [_of_size(row, size) for row in combinations.to_dict("records")]
    if not _judged(found):
        return [*sentences, _without_verdict()]
    for method, own in found.groupby("method", sort=False):
        enough = own[own["share_found"] >= MOST]
        last = own.iloc[-1]
        words = (
            f"detects the loss in at least {MOST:.0%} of the cohorts from {enough[size].iloc[0]} subjects on"
            if len(enough)
            else f"does not detect the loss in {MOST:.0%} of the cohorts at any size"
        )
        sentences.append(
            f"{method_title(method)} {words}; with {last[size]} it does in {int(last['n_found'])} of "
            f"{int(last['n_cohorts'])} ({last['found_low']:.2f} to {last['found_high']:.2f}), with an AUPRC of "
            f"{interval(last['region_auprc'], last['auprc_low'], last['auprc_high'])} (column "
            f"*{method_title(method)}*)."
        )
    return sentences


def _of_size(row, size):
    own, other = (interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("auc", "auc_baseline"))
    return (
        f"With {row[size]} subjects, the AUC is {own} for the network and {other} for the baseline "
        f"({row['n_repeats']} cohorts; columns *AUC*, *AUC of the baseline*)."
    )


def of_signals(combinations, found, columns):
    """Which methods point at the structure that separates the classes.

    Parameters
    ----------
    combinations, found : DataFrames of `summary.combination_table` and `detections.detection_table`
    columns : names of the choices, the structure first
    """
    sentences = []
    for row in combinations.to_dict("records"):
        own = found[(found[columns] == [row[name] for name in columns]).all(axis=1)]
        ranked = own.sort_values("region_auprc", ascending=False, kind="stable")
        words = [
            f"{method_name(cell.method)} {number(cell.region_auprc)} ({cell.n_found} of {cell.n_cohorts})"
            for cell in ranked.itertuples()
        ]
        sentences.append(
            f"{listing([str(row[name]).replace('_', ' ') for name in columns]).capitalize()}, AUC "
            f"{interval(row['auc'], row['auc_low'], row['auc_high'])}. AUPRC and cohorts with a detection, best first: "
            f"{listing(words)} (columns of the methods)."
        )
    share = found.groupby("method", sort=False)[["n_found", "n_cohorts"]].sum()
    always = [method_name(m) for m in share.index[share["n_found"] >= MOST * share["n_cohorts"]]]
    never = [method_name(m) for m in share.index[share["n_found"] <= (1 - MOST) * share["n_cohorts"]]]
    sentences.append(
        f"Over all structures, in {MOST:.0%} of the cohorts or more: {listing(always) or 'no method'}; in "
        f"{1 - MOST:.0%} or fewer: {listing(never) or 'no method'}."
    )
    return sentences
