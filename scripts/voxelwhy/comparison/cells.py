"""One run of a comparison: a complete study, run by Snakemake like any other, and the results kept from it."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from voxelwhy.comparison.audits import NOMINAL
from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json, write_json
from voxelwhy.io.tables import FOLDS, METRICS, PREDICTIONS, REGIONS, TRUTH, TRUTH_DRAWS, read_table
from voxelwhy.io.trust_tables import CLASS_REGIONS, SHORTCUTS, TESTED

log = logging.getLogger(__name__)

#: Number of lines of the study's output that the error message repeats.
SHOWN_LINES = 12


def run_study(config, *, snakefile, cores=None, profiles=()):
    """Run a study up to its numerical results (the rule `numbers`); existing results are not made again.

    Parameters
    ----------
    config : dict, of the study; written to results/<study>/config.yaml, so that its report can be made later
    snakefile : path
    cores : int, of this machine; None if jobs are submitted to a cluster
    profiles : list of str, profiles of the Snakemake that runs the comparison, in order

    Raises
    ------
    InputError : the study failed; the message repeats its last lines.
    """
    folder = Path("results", config["study"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", str(path)]
    command += [word for profile in profiles for word in ("--profile", profile)]
    command += ["--cores", str(cores)] if cores else []
    # A lock of the inner study would outlive a killed controller, and users would only remove that of the comparison.
    command += ["--nolock", "numbers"]
    log.info("%s", " ".join(command))
    lines = []
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        for line in job.stdout:
            lines = [*lines[-500:], line.rstrip()]
            log.info("%s", line.rstrip())
        job.wait()
    finally:
        if job.poll() is None:
            job.terminate()
            job.wait()
    if job.returncode:
        raise InputError(
            f"the study {config['study']} failed\n  " + "\n  ".join(lines[-SHOWN_LINES:]),
            file=path,
            hint=f"run it alone: snakemake numbers --cores all --configfile {path}   (for your own network, with the "
            "folder of its module on PYTHONPATH)",
        )


def write_cell(path, facts):
    """Write the results of a run as JSON, in which NaN becomes null."""
    write_json(path, _replace(facts, lambda value: isinstance(value, float) and math.isnan(value), None))


def read_cell(path):
    """Read the results of a run that `write_cell` wrote."""
    return _replace(read_json(path), lambda value: value is None, math.nan)


def _replace(content, applies, new):
    if isinstance(content, dict):
        return {key: _replace(value, applies, new) for key, value in content.items()}
    if isinstance(content, list):
        return [_replace(value, applies, new) for value in content]
    return new if applies(content) else content


def gather_study(study, *, split, methods, classes):
    """Collect the results of one study that a comparison keeps.

    Parameters
    ----------
    study : str
    split : str, the split whose results are compared
    methods : list of str
    classes : {"positive": name, "negative": name}

    Returns
    -------
    dict:

    - folder: path of the split's results
    - auc: by model ("cnn", "baseline"), value, low, high, n_subjects, n_scans (by subject, within folds)
    - predictions: columns of the network's out-of-sample predictions
    - truth: rows by tables.TRUTH, each with `draws`, the AUPRC of each draw of shuffled diagnoses; empty if no planted
      disease is known
    - audit: rows by trust_tables.SHORTCUTS of the tested properties (`trust_tables.TESTED`), and of all of them alone
    - methods: by method, share_outside (share of relevance outside the brain), enrichment and volume of each region in
      scans of the positive class, and class_regions: how many regions differ between the classes (p_family of at most
      0.05), and the smallest p_family

    Runs that earlier versions have kept have neither audit nor class_regions.
    """
    folder = Path("results", study, "splits", split)
    metrics = read_table(folder / "evaluation" / "metrics.tsv", METRICS)
    pooled = metrics[(metrics["metric"] == "auc") & (metrics["level"] == "subject") & (metrics["fold"] == "all")]
    # Read from the table rather than from the folders, since an earlier run may have had more folds.
    folds = sorted(read_table(folder / "folds.tsv", FOLDS)["fold"].unique())
    predictions = pd.concat(
        [read_table(folder / f"fold-{fold}" / "predictions.tsv", PREDICTIONS) for fold in folds], ignore_index=True
    )
    return {
        "folder": str(folder),
        "auc": {
            row.model: {"value": row.value, "low": row.low, "high": row.high}
            | {"n_subjects": int(row.n_subjects), "n_scans": int(row.n_scans)}
            for row in pooled.itertuples()
        },
        "predictions": predictions[["fold", "scan_id", "subject_id", "label", "probability"]].to_dict("list"),
        "truth": _truth(folder / "evaluation"),
        "audit": _audit(folder / "trust"),
        "methods": {method: _method(folder, method, classes) for method in methods},
    }


def _truth(folder):
    if not (folder / "truth.tsv").exists():
        return []
    drawn = read_table(folder / "truth_draws.tsv", TRUTH_DRAWS)
    rows = read_table(folder / "truth.tsv", TRUTH).to_dict("records")
    return [row | {"draws": drawn.loc[drawn["method"] == row["method"], "region_auprc"].tolist()} for row in rows]


def _audit(folder):
    table = read_table(folder / "shortcuts.tsv", SHORTCUTS)
    return table[table["check"].isin([*TESTED, "nuisances_alone"])].to_dict("records")


def _method(folder, method, classes):
    groups = pd.read_csv(folder / "heatmaps" / method / "groups.tsv", sep="\t", index_col="group")
    regions = read_table(folder / "regions" / f"{method}.tsv", REGIONS)
    own = regions[regions["group"] == classes["positive"]]
    p = read_table(folder / "trust" / "class_regions" / f"{method}.tsv", CLASS_REGIONS)["p_family"]
    return {
        "share_outside": float(groups.loc[classes["positive"], "share_outside"]),
        "enrichment": dict(zip(own["region"], own["enrichment"], strict=True)),
        "volume": dict(zip(own["region"], own["volume_mm3"], strict=True)),
        "class_regions": {"n_raised": int((p <= NOMINAL).sum()), "least_p_family": float(p.min())},
    }
