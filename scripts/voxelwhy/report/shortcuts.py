"""What else a score follows, for readers: the table, a verdict for each row, and a sentence for each answer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.text import interval, listing, method_title, p_value
from voxelwhy.io.trust_tables import CHECKS, TESTED
from voxelwhy.report.tables import publish_table, short_p

SIGNIFICANT = 0.05
SHORTCUT_PART = "Does the score follow something else?"
#: How a relation is written, by measure.
SYMBOLS = {"Spearman": "ρ", "AUC": "AUC", "η²": "η²"}
#: What features a property is read from, by check.
SOURCES = {"decoded_network": "the last features of the network", "decoded_regions": "region means"}
#: Checks whose value is an AUC of the diagnosis.
OF_CLASSES = ("nuisances_alone", "matched", "silhouette", "background")


def publish_shortcuts(shortcuts, out, *, of=""):
    """What else the score follows, one row for each check."""
    shown = pd.DataFrame(
        {
            "Check": shortcuts["check"].map(CHECKS),
            "Property": [property_title(row) for row in shortcuts.to_dict("records")],
            "Subjects": shortcuts["group"],
            "n": shortcuts["n_subjects"],
            "Measure": shortcuts["measure"],
            "Value (95 % CI)": [_said(row) for row in shortcuts.to_dict("records")],
            "p": shortcuts["p"].map(short_p),
            "p (family)": shortcuts["p_family"].map(short_p),
            "Verdict": [verdict(row) for row in shortcuts.to_dict("records")],
        }
    )
    caption = (
        f"What else the score of the network follows{of}; the unit is the subject. p: by permutation within folds and "
        "class (follows), or of the diagnoses within folds (differs), or of the likelihood ratio (beyond the "
        "properties); p (family): corrected over all tests of the first two kinds (Holm). η²: share of the ranks' sum "
        "of squares between categories. Silhouettes and "
        "backgrounds: out-of-sample scores of images in which everything else has the mean of training scans."
    )
    return publish_table(shortcuts, shown, out, title="What else the score follows", caption=caption, category="trust")


def property_title(row):
    """The property of a row, with the title of a method."""
    return method_title(row["property"]) if row["check"] == "outside" else row["property"]


def _said(row):
    return "–" if row["check"] == "unknown" else interval(row["value"], row["low"], row["high"])


def verdict(row):
    """What a row by trust_tables.SHORTCUTS shows, in a few words."""
    check, value = row["check"], row["value"]
    if check == "unknown":
        return "not tested"
    if check == "background" and not np.isfinite(value):
        return row["property"]
    if check == "follows":
        if not np.isfinite(row["p_family"]):
            return "not tested: too few subjects, or no spread"
        followed = "follows it" if row["p_family"] <= SIGNIFICANT else "not shown to follow it"
        return f"{followed} ({p_value(row['p_family'])})"
    if check == "differs":
        if not np.isfinite(row["p_family"]):
            return "not tested: too few subjects, or no spread"
        differs = "differs" if row["p_family"] <= SIGNIFICANT else "not shown to differ"
        return f"{differs} between the classes ({p_value(row['p_family'])})"
    if check == "given_nuisances":
        return f"{'adds to them' if row['p'] <= SIGNIFICANT else 'not shown to add to them'} ({p_value(row['p'])})"
    if not np.isfinite(value):
        return "not defined"
    if check == "outside":
        return f"{value:.0%} of the relevance"
    if check in OF_CLASSES:
        return "separates the classes" if is_shown(row) else "not shown to separate the classes"
    return "can be read" if is_shown(row) else "not shown to be readable"


def is_shown(row):
    """Whether the interval of a row lies above what chance gives."""
    return row["low"] > (0.0 if row["measure"] == "Spearman" else 0.5)


def shortcut_answers(shortcuts):
    """Rows that get a sentence, in order: of each of TESTED those raised, or else the nearest; then all others."""
    first = []
    for check in TESTED:
        tested = shortcuts[(shortcuts["check"] == check) & shortcuts["p_family"].notna()]
        raised = tested[tested["p_family"] <= SIGNIFICANT]
        if len(tested) and not len(raised):
            nearest = tested.loc[tested["p_family"].idxmin()].to_dict()
            first.append(nearest | {"all": listing(dict.fromkeys(tested["property"]))})
        else:
            first += raised.to_dict("records")
    others = shortcuts[~shortcuts["check"].isin(TESTED)].to_dict("records")
    undefined = ("matched", "decoded_network", "decoded_regions", "outside")
    return first + [row for row in others if np.isfinite(row["value"]) or row["check"] not in undefined]


def answer_shortcut(row):
    """Answer with a row of `shortcut_answers`.

    Returns
    -------
    (of, measure, sentence, p) for a row by trust_tables.TRUST
    """
    said = interval(row["value"], row["low"], row["high"])
    if row["check"] == "follows":
        of, measure = f"{row['property']}, {row['group']}", row["measure"]
        return of, measure, _of_property(row, said), row["p_family"]
    if row["check"] == "differs":
        return f"{row['property']}, by class", row["measure"], _between_classes(row, said), row["p_family"]
    if row["check"] == "given_nuisances":
        words = "still separates" if row["p"] <= SIGNIFICANT else "is not shown to separate"
        named = listing(row["property"].split(", "))
        words = f"Given {named}, the score {words} the classes ({p_value(row['p'])})."
        return "score given properties", row["measure"], words, row["p"]
    of, words = ANSWERS[row["check"]](row, said)
    return of, row["measure"], words, np.nan


def _of_property(row, said):
    if "all" in row:
        smallest = p_value(row["p_family"])
        return f"Within a class, the score is not shown to follow {row['all']} (smallest corrected {smallest})."
    symbol, p = SYMBOLS[row["measure"]], p_value(row["p_family"])
    return f"The score follows {row['property']} among {row['group']} subjects: {symbol} {said}, {p}."


def _between_classes(row, said):
    if "all" in row:
        smallest = p_value(row["p_family"])
        return f"The classes are not shown to differ in {row['all']} (smallest corrected {smallest})."
    symbol, p = SYMBOLS[row["measure"]], p_value(row["p_family"])
    return f"The classes differ in {row['property']}, which a network may read: {symbol} {said}, {p}."


def _of_nuisances(row, said):
    named = listing(row["property"].split(", "))
    return "properties alone", f"A logistic regression on {named} alone has an AUC of {said}."


def _of_pairs(row, said):
    alike = [name for name in row["property"].split(", ") if name != "age"]
    words = [f"of equal {listing(alike)}"] * bool(alike) + ["of about equal age"] * ("age" in row["property"])
    return "matched pairs", f"In pairs {' and '.join(words).replace('and of', 'and')}, the AUC is {said}."


def _of_silhouette(row, said):
    return "silhouettes", f"On silhouettes alone, {_separates(row, said)}"


def _separates(row, said):
    if is_shown(row):
        return f"the network separates the classes with an AUC of {said}."
    return f"the network is not shown to separate the classes: AUC {said}."


def _of_background(row, said):
    if not np.isfinite(row["value"]):
        return "background", f"Background: {row['property']}."
    return "background", f"On what lies outside the brain, {_separates(row, said)}"


def _of_features(row, said):
    source, symbol = SOURCES[row["check"]], SYMBOLS[row["measure"]]
    shown = "can be read" if is_shown(row) else "is not shown to be readable"
    of = f"{row['property']}, {'network' if row['check'] == 'decoded_network' else 'regions'}"
    return of, f"In {row['group']} subjects, {row['property']} {shown} from {source}: {symbol} {said}."


def _of_relevance(row, said):
    of = f"{method_title(row['property'])}, {row['group']}"
    words = (
        f"{method_title(row['property'])}: of {row['group']} subjects, a share of {said} of the relevance is outside"
    )
    return of, f"{words} the brain."


def _of_unknown(row, said):
    return "what is not known", f"Not known for these scans, and so not tested: {row['property']}."


#: How a row is answered, by its check: (what it is of, the sentence).
ANSWERS = {
    "nuisances_alone": _of_nuisances,
    "matched": _of_pairs,
    "silhouette": _of_silhouette,
    "background": _of_background,
    "decoded_network": _of_features,
    "decoded_regions": _of_features,
    "outside": _of_relevance,
    "unknown": _of_unknown,
}
