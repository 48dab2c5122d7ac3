"""Draw the performance of the network: metrics, ROC, confusion matrix and learning curves, or all cohorts together."""

from pathlib import Path

import pandas as pd

from voxelwhy.evaluation.metrics import by_subject, confusion
from voxelwhy.evaluation.probed_shortcuts import with_probes
from voxelwhy.io.tables import HISTORY, METRICS, PREDICTIONS, ROC, read_table
from voxelwhy.io.trust_tables import CLINICAL, CLINICAL_CURVES, SHORTCUTS
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.external import draw_external
from voxelwhy.report.figures.performance import draw_confusion, draw_learning_curves, draw_metrics, draw_roc
from voxelwhy.report.figures.shortcuts import draw_shortcuts
from voxelwhy.report.figures.trust import draw_clinical


def draw_cohort(job, out, settings):
    how, titles = {key: settings[key] for key in ("simulated", "of", "dpi")}, settings["titles"]
    metrics = read_table(job.input.metrics, METRICS)
    draw_metrics(metrics, out["metrics"], level="subject", model_titles=titles, **how)
    roc = read_table(job.input.roc, ROC)
    draw_roc(roc, metrics, out["roc"], model_titles=titles, n_bootstrap=settings["bootstrap"], **how)
    predictions = pd.concat([read_table(path, PREDICTIONS) for path in job.input.predictions], ignore_index=True)
    n = {f"n_{unit}s": predictions[f"{unit}_id"].nunique() for unit in ("subject", "scan")}
    counts = confusion(by_subject(predictions), settings["classes"])
    draw_confusion(counts, out["confusion"], model_title=titles["cnn"], **n, **how)
    clinical, curves = read_table(job.input.clinical, CLINICAL), read_table(job.input.curves, CLINICAL_CURVES)
    draw_clinical(clinical, curves, out["clinical"], **how)
    shortcuts = read_table(job.input.shortcuts, SHORTCUTS)
    shortcuts = with_probes(shortcuts, job.input.probed, classes=settings["classes"])
    draw_shortcuts(shortcuts, out["shortcuts"], **how)
    if job.input.histories:
        folds = {int(Path(path).parent.name.removeprefix("fold-")): path for path in job.input.histories}
        histories = {fold: read_table(path, HISTORY) for fold, path in folds.items()}
        of_training = {"settings": settings["training"], "simulated": how["simulated"], "dpi": how["dpi"]}
        draw_learning_curves(histories, out["learning_curves"], **of_training)


with door(snakemake) as job:
    settings, out = job.settings, job.output.stems()
    if "external" in out:
        draw_external(
            {
                name: read_table(path, METRICS)
                for name, path in zip(settings["cohorts"], job.input.metrics, strict=True)
            },
            out["external"],
            split=settings["split_name"],
            n_models=settings["n_models"],
            model_titles=settings["titles"],
            simulated=settings["simulated_anywhere"],
            dpi=settings["dpi"],
        )
    else:
        draw_cohort(job, out, settings)
