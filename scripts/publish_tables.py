"""The tables of a split as tsv, md and tex."""

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
    publish_metrics(
        read_table(job.input.metrics, METRICS),
        out["metrics"],
        model_titles=settings["titles"],
        n_bootstrap=settings["bootstrap"],
    )
    publish_agreement(read_table(job.input.agreement, AGREEMENT), out["agreement"])
    tables = {m: read_table(p, REGIONS) for m, p in zip(settings["methods"], job.input.regions, strict=True)}
    for group in settings["classes"].values():
        publish_regions(tables, out[f"regions_{group}"], group=group, atlas=settings["atlas"], top=settings["top"])
    if job.input.truth:
        publish_truth(read_table(job.input.truth[0], TRUTH), out["truth"], group=settings["classes"]["positive"])
