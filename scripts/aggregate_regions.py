"""Aggregate relevance by atlas region and group of scans, with intervals over subjects."""

from voxelwhy.io.tables import ATLAS, REGIONS, RELEVANCE, read_pieces, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.regions.aggregate import aggregate_regions

with door(snakemake) as job:
    regions = aggregate_regions(
        read_pieces(job.input.relevance, RELEVANCE),
        read_table(job.input.regions, ATLAS),
        classes=job.settings["classes"],
        judged=job.settings["judged"],
    )
    write_table(regions, job.output.regions, REGIONS)
