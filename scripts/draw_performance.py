"""How well the network does beside the baseline: metrics, ROC, confusion matrix, learning curves."""

from pathlib import Path

import pandas as pd

from voxelwhy.evaluation.metrics import confusion
from voxelwhy.io.tables import HISTORY, METRICS, PREDICTIONS, ROC, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.performance import draw_confusion, draw_learning_curves, draw_metrics, draw_roc

with door(snakemake) as job:
    out, titles = job.output.stems(), job.settings["titles"]
    how = {key: job.settings[key] for key in ("simulated", "of", "dpi")}
    resampled = {"model_titles": titles, "n_bootstrap": job.settings["bootstrap"]}
    metrics = read_table(job.input.metrics, METRICS)
    draw_metrics(metrics, out["metrics"], level="scan", **resampled, **how)
    draw_roc(read_table(job.input.roc, ROC), metrics, out["roc"], **resampled, **how)
    predictions = pd.concat([read_table(path, PREDICTIONS) for path in job.input.predictions], ignore_index=True)
    draw_confusion(
        confusion(predictions, job.settings["classes"]),
        out["confusion"],
        n_subjects=predictions["subject_id"].nunique(),
        n_scans=predictions["scan_id"].nunique(),
        model_title=titles["cnn"],
        **how,
    )
    if job.input.histories:
        folds = {int(Path(path).parent.name.removeprefix("fold-")): path for path in job.input.histories}
        histories = {fold: read_table(path, HISTORY) for fold, path in folds.items()}
        of_training = {"settings": job.settings["training"], "simulated": how["simulated"], "dpi": how["dpi"]}
        draw_learning_curves(histories, out["learning_curves"], **of_training)
