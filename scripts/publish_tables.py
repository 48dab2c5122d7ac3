"""Who is in a split, and how well the network does, as tsv, md and tex."""

from voxelwhy.io.tables import METRICS, TABLE1, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_metrics, publish_table1

with door(snakemake) as job:
    out, settings = job.output.stems(), job.settings
    publish_table1(read_table(job.input.table1, TABLE1), out["table1"], of=settings["of"])
    if job.input.metrics:
        how = {"model_titles": settings["titles"], "n_bootstrap": settings["bootstrap"], "of": settings["of"]}
        publish_metrics(read_table(job.input.metrics[0], METRICS), out["metrics"], **how)
