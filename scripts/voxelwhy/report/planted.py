"""Whether methods detect a loss that was planted in the study's own controls, in a table, in sentences and in notes."""

from __future__ import annotations

import pandas as pd

from voxelwhy.io.text import count, interval, method_name, method_title, number, p_value
from voxelwhy.report.tables import publish_table, short_p

QUESTION = "Would a known loss of volume in these scans be detected?"
NETWORK, DETECTED, NO_VERDICT = "network", "detected", "no verdict"


def publish_planted(controls, out):
    """The detection of a loss planted in the study's controls, one row for each assignment and method.

    Parameters
    ----------
    controls : DataFrame by trust_tables.PLANTED_CONTROLS
    """
    shown = pd.DataFrame(
        {
            "Assignment": controls["assignment"],
            "Method": controls["method"].map(method_title),
            "Pairs": controls["n_pairs"],
            "AUC of the network (95 % CI)": [interval(r.auc, r.auc_low, r.auc_high) for r in controls.itertuples()],
            "AUPRC regions (chance)": [
                f"{number(row.region_auprc)} ({number(row.region_chance)})" for row in controls.itertuples()
            ],
            "Shuffled": [f"{number(row.shuffled_low)} to {number(row.shuffled_high)}" for row in controls.itertuples()],
            "p": controls["p"].map(short_p),
            "p (family)": controls["p_family"].map(short_p),
            "Verdict": controls["verdict"],
        }
    )
    first = controls.iloc[0]
    where = "in the space of each scan, through its own registration" if first["space"] == "native" else (
        "in template space, since others have registered the scans"
    )  # fmt: skip
    several = " Assignments share scans: they differ in which control of a pair has the loss, and partly in the pairs."
    caption = (
        f"The study's network and methods on its own controls. In one of each pair, {first['loss']} was planted "
        f"{where}; in the other a sham, which displaces tissue as far, in the same places, without net loss. AUC: "
        f"planted against sham. AUPRC over atlas regions ranked by enrichment, {first['n_truth_regions']} of which "
        f"lost volume; shuffled: range of {count(int(first['n_shuffled']), 'draw')} of networks trained on shuffled "
        "labels of the same scans; p is the share of draws at least as good, p (family) that of the best of the "
        f"methods in each draw (max-T).{several * (controls['assignment'].nunique() > 1)}"
    )
    title = "A loss planted in the study's own controls"
    return publish_table(controls, shown, out, title=title, caption=caption, category="trust")


def planted_notes(controls):
    """What stands over the maps of each method, {method: a few short lines}: "controls:", "detected", "p = 0.050"."""
    notes = {}
    for method, own in controls.groupby("method", sort=False):
        found, n = int((own["verdict"] == DETECTED).sum()), len(own)
        if (own["verdict"] == NO_VERDICT).all():
            continue
        words = f"{'' if found else 'not '}detected"
        notes[method] = f"controls:\n{words}" + (
            f"\n{p_value(own['p_family'].iloc[0])}" if n == 1 else f" in {found} of {n}" * bool(found)
        )
    return notes


def planted_answers(summary):
    """Rows of trust_tables.TRUST: what the network learns of the loss, and whether each method detects it.

    Parameters
    ----------
    summary : DataFrame of `evaluation.planted.results.summarise_planted`
    """
    return [_of_network(row) if row["of"] == NETWORK else _of_method(row) for row in summary.to_dict("records")]


def _of_network(row):
    words = (
        f"In {row['n_subjects']} controls, half of them with {_loss(row)}, the network tells these from shams of equal "
        f"strength with an AUC of {interval(row['value'], row['low'], row['high'])}"
    )
    words += f" (mean over {row['assignments']} assignments)." if row["assignments"] > 1 else "."
    return _answer(row, "network", "AUC, planted against sham", words)


def _of_method(row):
    where, method = "In these scans, with this network", method_name(row["of"])
    if row["verdict"] == NO_VERDICT:
        words = f"{where}, {method} has an AUPRC of {number(row['value'])} for {_loss(row)}; no verdict is given."
    elif row["assignments"] > 1:
        mean = interval(row["value"], row["low"], row["high"])
        words = f"{where}, {method} detects {_loss(row)} in {row['detected']} of {row['assignments']} assignments "
        words += f"of the controls (mean AUPRC {mean})."
    else:
        shuffled = f"shuffled {number(row['shuffled_low'])} to {number(row['shuffled_high'])}"
        figures = f"AUPRC {number(row['value'])}, {shuffled}, {p_value(row['p'])}"
        detects = "detects" if row["detected"] else "is not shown to detect"
        words = f"{where}, {method} {detects} {_loss(row)} ({figures})."
    return _answer(row, method_title(row["of"]), "AUPRC, planted controls", words)


def _loss(row):
    return row["loss"] + ", planted in template space" * (row["space"] == "template")


def _answer(row, of, measure, sentence):
    numbers = {name: row[name] for name in ("value", "low", "high", "p", "n_subjects")}
    return {"part": QUESTION, "of": of, "measure": measure, **numbers, "sentence": sentence}
