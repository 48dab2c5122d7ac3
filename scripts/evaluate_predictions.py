"""Compute accuracy, AUC and related measures, for the network, the baseline and the difference between them."""

import pandas as pd

from voxelwhy.evaluation.clinical import assess_scores, clinical_curves
from voxelwhy.evaluation.difference import compare_models
from voxelwhy.evaluation.metrics import roc_band, score_predictions
from voxelwhy.evaluation.people import covariate_names, join_people, join_properties
from voxelwhy.evaluation.shortcuts import audit_shortcuts
from voxelwhy.io.tables import (
    COVARIATES,
    DIFFERENCES,
    FOLDS,
    METRICS,
    PREDICTIONS,
    ROC,
    SELECTED,
    read_table,
    write_table,
)
from voxelwhy.io.trust_tables import CLINICAL, CLINICAL_CURVES, SHORTCUTS
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
    selected, folds = read_table(job.input.selected, SELECTED), read_table(job.input.folds, FOLDS)
    # A column of the table that has the name of a measured property takes its place.
    tables = [read_table(path, COVARIATES) for path in [*job.input.covariates, job.input.measured]]
    covariates = pd.concat(tables).drop_duplicates(["scan_id", "covariate"], ignore_index=True)
    people = join_people(cnn, selected, covariates)
    asked = {"classes": how["classes"], "prevalence": job.settings["prevalence"]}
    write_table(assess_scores(people, **asked), job.output.clinical, CLINICAL)
    write_table(clinical_curves(people, **asked), job.output.curves, CLINICAL_CURVES)
    # On another cohort nothing was trained, so the properties alone have nothing to learn from.
    sides = join_properties(folds, selected, covariates) if (folds["side"] == "train").any() else None
    asked = {"covariates": covariate_names(covariates), "sides": sides}
    write_table(audit_shortcuts(people, **asked, **permuted, **how), job.output.shortcuts, SHORTCUTS)
