"""What the study does not use, by stage, reason and class."""

from voxelwhy.doors import door
from voxelwhy.publish import publish_excluded
from voxelwhy.tables import EXCLUDED, read_table

with door(snakemake) as job:
    excluded = read_table(job.input.excluded, EXCLUDED)
    publish_excluded(excluded, job.output.stems()["excluded"], classes=job.settings["classes"])
