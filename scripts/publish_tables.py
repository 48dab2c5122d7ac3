"""The tables of a split as tsv, md and tex."""

import pandas as pd

from voxelwhy.doors import door
from voxelwhy.publish import (
    publish_agreement,
    publish_metrics,
    publish_regions,
    publish_table1,
    publish_truth,
)
from voxelwhy.tables import AGREEMENT, METRICS, REGIONS, TABLE1, TRUTH, read_table

with door(snakemake) as job:
    out, settings = job.output.stems(), job.settings
    publish_table1(read_table(job.input.table1, TABLE1), out["table1"])
    if job.input.metrics:
        how = {"model_titles": settings["titles"], "n_bootstrap": settings["bootstrap"]}
        publish_metrics(read_table(job.input.metrics[0], METRICS), out["metrics"], **how)
    groups = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")[["n_subjects", "n_scans"]]
    heatmaps, positive = settings["heatmaps"], settings["classes"]["positive"]
    everybody, patients = (groups.loc[group].to_dict() for group in ("all", positive))
    agreement = read_table(job.input.agreement, AGREEMENT)
    publish_agreement(agreement, out["agreement"], settings=heatmaps, **everybody)
    tables = {m: read_table(p, REGIONS) for m, p in zip(heatmaps["methods"], job.input.regions, strict=True)}
    for group in settings["classes"].values():
        how = {"group": group, "settings": heatmaps, "atlas": settings["atlas"], "top": settings["top"]}
        publish_regions(tables, out[f"regions_{group}"], **how)
    if job.input.truth:
        truth = read_table(job.input.truth[0], TRUTH)
        publish_truth(truth, out["truth"], group=positive, settings=heatmaps, **patients)
