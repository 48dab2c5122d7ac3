"""The three cards of the page: how well the network does, where the methods point, how far to trust that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import count, interval, listing, method_name, method_title, number, p_value, people
from voxelwhy.report.badges import SIGNIFICANT
from voxelwhy.report.cells import Bar, interval_bar
from voxelwhy.report.sentences import better_than_chance, pooled_metric, with_interval
from voxelwhy.report.wording import METRIC_TITLES, name_auc

#: Regions that the second card names.
NAMED = 5
#: Methods that the answer of the third card names; more are counted.
NAMED_METHODS = 2
#: Checks of a method (badges.Support.checks), and what it means to pass them.
CHECKS = {
    "weights": "Weights ✓: with all weights reset, maps are no more alike than those of two subjects, or ρ ≤ 0.1.",
    "blanking": "Blanking ✓: what the map marks lowers the score more than random regions.",
}


@dataclass(frozen=True)
class Line:
    """A line of a card: what it is of, what it says, and an interval's bar."""

    label: str
    text: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Card:
    """A card of the first screen.

    Attributes
    ----------
    title : str
    section : str, the id of the section that it leads to
    answer : str, one sentence
    lines : of Line
    footnote : str, what the lines are
    columns, cells : a small table in place of lines; an entry is (text, kind), where a kind makes it a badge
    """

    title: str
    section: str
    answer: str
    lines: tuple[Line, ...] = ()
    footnote: str = ""
    columns: tuple[str, ...] = ()
    cells: tuple[tuple[tuple[str, str], ...], ...] = ()


def make_cards(findings, *, baseline_title="baseline"):
    """The cards of a study.

    Parameters
    ----------
    findings : findings.Findings
    baseline_title : str, the kind of baseline

    Returns
    -------
    list of Card; the second and third only if heatmaps were computed
    """
    cards = [performance_card(findings, baseline_title)]
    if findings.regions:
        cards += [regions_card(findings), trust_card(findings)]
    return cards


def performance_card(findings, baseline_title):
    """How well the network does, compared with the baseline."""
    metrics, title = findings.metrics, "How well does the network do?"
    if metrics is None:
        return Card(title, "methods", "Not reported: the training data of these weights are unknown.")
    auc, lines = pooled_metric(metrics, "cnn", "auc"), []
    for metric in ("auc", "accuracy"):
        for model, shown in (("cnn", "network"), ("baseline", "baseline")):
            row = pooled_metric(metrics, model, metric)
            if row is not None:
                bar = interval_bar((row["value"], row["low"], row["high"]), (0, 1), 0.5)
                lines.append(Line(f"{METRIC_TITLES[metric]}, {shown}", with_interval(row), bar))
    said = f"AUC {with_interval(auc)}" if better_than_chance(auc) else "Not shown to be better than chance"
    answer = f"{said}{_compared(findings.difference)}."
    footnote = (
        f"Out of sample, {people(auc['n_subjects'], auc['n_scans'])}; {name_auc(metrics)}; 95 % intervals over "
        f"subjects; against permuted diagnoses {p_value(auc['p'])}. Baseline: {baseline_title}."
    )
    return Card(title, "performance", answer, tuple(lines), footnote)


def _compared(difference):
    if difference is None:
        return ""
    row = difference.set_index("metric").loc["auc"]
    apart = f"{number(row['difference'])}, {number(row['low'])} to {number(row['high'])}, {p_value(row['p'])}"
    if row["p"] <= SIGNIFICANT:
        return f"; {'better' if row['difference'] > 0 else 'worse'} than the baseline (difference {apart})"
    return f"; not shown to differ from the baseline (difference {apart})"


def regions_card(findings):
    """Where the methods point: the regions that most methods support."""
    positive, title = findings.classes["positive"], "Where do the methods point?"
    ranked, how = support_regions(findings.regions, findings.class_regions, positive)
    best = findings.best
    if not len(ranked):
        answer = f"No region is marked beyond chance by any of {count(len(findings.regions), 'method')}."
        return Card(title, "regions", answer, footnote=how)
    own = findings.regions[best]
    own = own[own["group"] == positive].set_index("region")
    total = len(findings.regions)
    lines = tuple(
        Line(readable(row.region), f"{_enrichment(own.loc[row.region])}; {row.n_methods} of {total}")
        for row in ranked.head(NAMED).itertuples()
    )
    answer = f"Most often at {listing(readable(region) for region in ranked['region'].head(3))}."
    footnote = (
        f"{positive} scans, {people(own['n_subjects'].iloc[0], own['n_scans'].iloc[0])}. Enrichment by "
        f"{method_name(best)} (share of relevance by share of volume) with its 95 % interval; how many of the {total} "
        f"methods mark the region: {how}."
    )
    return Card(title, "regions", answer, lines, footnote)


def support_regions(regions, class_regions, group):
    """The regions by the number of methods that support them.

    Where networks were trained on shuffled diagnoses, a method supports a region with more relevance than in these;
    otherwise a region whose relevance differs between the classes. Both are corrected over regions (p of at most 0.05).

    Parameters
    ----------
    regions : {method: DataFrame by tables.REGIONS}
    class_regions : {method: DataFrame by trust_tables.CLASS_REGIONS}
    group : str, whose relevance counts

    Returns
    -------
    ranked : DataFrame with region, n_methods and mean_rank; regions that most methods support first
    how : str, what makes a method support a region
    """
    own = {method: table[table["group"] == group] for method, table in regions.items()}
    shuffled = all(len(table) and table["n_shuffled"].iloc[0] >= LEAST_DRAWS for table in own.values())
    tested = own if shuffled else class_regions
    how = "relevance beyond that of networks trained on shuffled diagnoses" if shuffled else "the classes differ"
    votes = [table.loc[table["p_family"] <= SIGNIFICANT, "region"] for table in tested.values()]
    votes = pd.concat(votes).value_counts() if votes else pd.Series(dtype=int)
    ranks = pd.concat([table.set_index("region")["rank"] for table in own.values()], axis=1).mean(axis=1)
    ranked = pd.DataFrame({"n_methods": votes, "mean_rank": ranks.reindex(votes.index)}).rename_axis("region")
    ranked = ranked.reset_index().sort_values(["n_methods", "mean_rank", "region"], ascending=[False, True, True])
    return ranked.reset_index(drop=True), f"{how} (p ≤ 0.05, corrected over regions)"


def _enrichment(row):
    return interval(row["enrichment"], row["enrichment_low"], row["enrichment_high"], digits=1)


def readable(region):
    """A region's name without underscores: "Hippocampus_L" is "Hippocampus L"."""
    return str(region).replace("_", " ")


def trust_card(findings):
    """How far to trust the maps: one line for each method with its badge, the best-supported first."""
    supports, checked = findings.supports, {name: words for name, words in CHECKS.items()
                                            if any(name in one.checks for one in findings.supports)}  # fmt: skip
    tested = any(one.finds is not None for one in supports)
    again = any(math.isfinite(one.stability) for one in supports)
    cells = [
        ((method_title(one.method), ""), one.badge)
        + ((one.how or "–", ""),) * tested
        + tuple(({True: "✓", False: "✗"}.get(one.checks.get(name), "–"), "") for name in checked)
        + ((number(one.stability), ""),) * again
        for one in supports
    ]
    columns = ("Method", "Known loss", *["p"] * tested, *(name.capitalize() for name in checked), *["Again"] * again)
    footnote = [f"Known loss: {_known_loss(supports)}.", *checked.values()]
    footnote += ["Again: ρ of maps of the same scan by two trainings."] * again
    footnote += ["✗: not shown."] * bool(checked)
    answer = _answer(supports)
    return Card("How far to trust it?", "trust", answer, (), " ".join(footnote), columns, tuple(cells))


def _answer(supports):
    found = [method_name(support.method) for support in supports if support.finds]
    if all(support.finds is None for support in supports):
        return "No known loss was planted, so it is not known whether these methods would detect one."
    if not found:
        return "No method is shown to detect a known loss of volume."
    if len(found) > NAMED_METHODS:
        return f"A known loss of volume is detected by {len(found)} of {count(len(supports), 'method')}."
    return f"A known loss of volume is detected by {listing(found)}."


def _known_loss(supports):
    if any(support.in_controls for support in supports):
        return "planted in the study's own controls; p, or in how many of the assignments it is detected"
    if any(support.finds is not None for support in supports):
        return "the planted truth of the cohort; p corrected over methods"
    return "none that could be tested"
