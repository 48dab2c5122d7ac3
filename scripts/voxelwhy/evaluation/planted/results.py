"""What the study of an assignment says: whether each method detects the planted loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.io.simulation_tables import TRUTH_REGIONS
from voxelwhy.io.tables import METRICS, TRUTH, read_table
from voxelwhy.io.text import count
from voxelwhy.io.trust_tables import PLANTED_CONTROLS, PLANTED_SCANS
from voxelwhy.report.wording import of_baseline

TAKEN = ("n_truth_regions", "region_auprc", "region_chance", "n_shuffled", "shuffled_low", "shuffled_high", "p",
         "p_family", "verdict")  # fmt: skip


def gather_assignment(folder, planting, split, *, assignment):
    """Collect the results of the study of an assignment for one split.

    Parameters
    ----------
    folder : path of its results
    planting : path of its planted controls (`cohort.plant_controls`)
    split : str

    Returns
    -------
    DataFrame by trust_tables.PLANTED_CONTROLS, one row a method
    """
    evaluation = Path(folder, "splits", split, "evaluation")
    truth = read_table(evaluation / "truth.tsv", TRUTH)
    truth = truth[~of_baseline(truth["method"])]
    metrics = read_table(evaluation / "metrics.tsv", METRICS)
    pooled = (metrics["metric"] == "auc") & (metrics["level"] == "subject") & (metrics["fold"] == "all")
    auc = metrics[pooled & (metrics["model"] == "cnn")].iloc[0]
    scans = read_table(Path(planting, "planted.tsv"), PLANTED_SCANS)
    facts = {
        "assignment": assignment,
        "n_pairs": len(scans) // 2,
        "space": scans["space"].iloc[0],
        "loss": describe_loss(read_table(Path(planting, "truth", "regions.tsv"), TRUTH_REGIONS)),
        "auc": auc["value"],
        "auc_low": auc["low"],
        "auc_high": auc["high"],
    }
    rows = [facts | {name: row[name] for name in ("method", *TAKEN)} for row in truth.to_dict("records")]
    return pd.DataFrame(rows)[list(PLANTED_CONTROLS.columns)]


def summarise_planted(controls):
    """What the assignments say together, one row for the network and one for each method.

    With one assignment, `value` is the AUC of the network with its interval over subjects, or the AUPRC of a method
    with its p, corrected over the methods. With several, `value` is the mean over assignments, with Student's interval.
    Assignments share scans: that interval describes how much the choice of the controls matters, not people.

    Parameters
    ----------
    controls : DataFrame by trust_tables.PLANTED_CONTROLS

    Returns
    -------
    DataFrame: of ("network", or a method), value, low, high, p, n_subjects, assignments, detected (in how many of
    them), verdict (in the first), shuffled_low, shuffled_high, loss, space
    """
    networks = controls.drop_duplicates("assignment")
    parts = {"network": networks} | dict(list(controls.groupby("method", sort=False)))
    rows = []
    for of, own in parts.items():
        first, network = own.iloc[0], of == "network"
        values = own["auc" if network else "region_auprc"].to_numpy(float)
        limits = student_interval(values)
        if len(own) == 1 and network:
            limits = first["auc_low"], first["auc_high"]
        row = {"of": of, "value": values.mean(), "low": limits[0], "high": limits[1]}
        row["p"] = first["p_family"] if len(own) == 1 and not network else np.nan
        row |= {"n_subjects": 2 * int(own["n_pairs"].max()), "assignments": len(own)}
        row["detected"] = int((own["verdict"] == "detected").sum())
        names = ("verdict", "shuffled_low", "shuffled_high", "loss", "space")
        rows.append(row | {name: first[name] for name in names})
    return pd.DataFrame(rows)


def describe_loss(regions):
    """The planted loss in words: "a loss of 25 % in the hippocampus and of 5 to 22 % in 8 further regions".

    Parameters
    ----------
    regions : DataFrame by simulation_tables.TRUTH_REGIONS, left and right as regions of their own
    """
    structures = regions["region"].str.rpartition("_")[0]
    lost = -100 * regions.groupby(structures)["achieved"].mean()
    lost = lost[lost > 0].sort_values(ascending=False, kind="stable")
    first, others = lost.index[0].replace("_", " "), lost.iloc[1:]
    words = f"a loss of {lost.iloc[0]:.0f} % in the {first}"
    if not len(others):
        return words
    low, high = f"{others.min():.0f}", f"{others.max():.0f}"
    return f"{words} and of {low if low == high else f'{low} to {high}'} % in {count(len(others), 'further region')}"
