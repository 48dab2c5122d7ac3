"""What the study does not use, by stage, reason and class."""

from voxelwhy.io.tables import EXCLUDED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_excluded

with door(snakemake) as job:
    excluded = read_table(job.input.excluded, EXCLUDED)
    publish_excluded(excluded, job.output.stems()["excluded"], classes=job.settings["classes"])
