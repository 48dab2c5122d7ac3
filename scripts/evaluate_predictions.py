"""Compute accuracy, AUC and related measures, for the network, the baseline and the difference between them."""

import pandas as pd

from voxelwhy.evaluation.difference import compare_models
from voxelwhy.evaluation.metrics import roc_band, score_predictions
from voxelwhy.io.tables import DIFFERENCES, METRICS, PREDICTIONS, ROC, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    how = {key: job.settings[key] for key in ("classes", "seed")}
    permuted = {"n_permutations": job.settings["permutations"]}
    cnn = pd.concat([read_table(path, PREDICTIONS) for path in job.input.cnn], ignore_index=True)
    models = {"cnn": cnn, "baseline": read_table(job.input.baseline, PREDICTIONS)}
    metrics = [score_predictions(predictions, model=model, **permuted, **how) for model, predictions in models.items()]
    write_table(pd.concat(metrics, ignore_index=True), job.output.metrics, METRICS)
    write_table(compare_models(*models.values(), **permuted, **how), job.output.difference, DIFFERENCES)
    n_bootstrap = job.settings["bootstrap"]
    bands = [roc_band(own, model=model, n_bootstrap=n_bootstrap, **how) for model, own in models.items()]
    write_table(pd.concat(bands, ignore_index=True), job.output.roc, ROC)
