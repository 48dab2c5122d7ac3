"""Relevance by region, agreement of the methods and the planted truth, as tsv, md and tex."""

import pandas as pd

from voxelwhy.io.tables import AGREEMENT, REGIONS, TRUTH, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_agreement, publish_regions, publish_truth

with door(snakemake) as job:
    out, settings = job.output.stems(), job.settings
    groups = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")[["n_subjects", "n_scans"]]
    heatmaps, positive = settings["heatmaps"], settings["classes"]["positive"]
    everybody, patients = (groups.loc[group].to_dict() for group in ("all", positive))
    agreement = read_table(job.input.agreement, AGREEMENT)
    publish_agreement(agreement, out["agreement"], settings=heatmaps, of=settings["of"], **everybody)
    tables = {m: read_table(p, REGIONS) for m, p in zip(heatmaps["methods"], job.input.regions, strict=True)}
    for group in settings["classes"].values():
        how = {key: settings[key] for key in ("atlas", "top", "of")}
        publish_regions(tables, out[f"regions_{group}"], group=group, settings=heatmaps, **how)
    if job.input.truth:
        truth = read_table(job.input.truth[0], TRUTH)
        publish_truth(truth, out["truth"], group=positive, settings=heatmaps, **patients)
