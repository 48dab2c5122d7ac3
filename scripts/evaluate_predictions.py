"""Compute accuracy, AUC and related measures with intervals, for the network and the baseline."""

import pandas as pd

from voxelwhy.evaluation.metrics import roc_band, score_predictions
from voxelwhy.io.tables import METRICS, PREDICTIONS, ROC, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    classes = job.settings["classes"]
    how = {"classes": classes, "n_bootstrap": job.settings["bootstrap"], "seed": job.settings["seed"]}
    cnn = pd.concat([read_table(path, PREDICTIONS) for path in job.input.cnn], ignore_index=True)
    models = {"cnn": cnn, "baseline": read_table(job.input.baseline, PREDICTIONS)}
    metrics = [score_predictions(predictions, model=model, **how) for model, predictions in models.items()]
    write_table(pd.concat(metrics, ignore_index=True), job.output.metrics, METRICS)
    bands = [roc_band(predictions, model=model, **how) for model, predictions in models.items()]
    write_table(pd.concat(bands, ignore_index=True), job.output.roc, ROC)
