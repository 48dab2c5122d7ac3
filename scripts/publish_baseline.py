"""Write a table of the regions with the largest weights and patterns of the baseline, as tsv, md and tex."""

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import ATLAS, BASELINE_RELEVANCE, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_baseline_regions

with door(snakemake) as job:
    publish_baseline_regions(
        read_table(job.input.relevance, BASELINE_RELEVANCE),
        read_table(job.input.regions, ATLAS),
        job.output.stems()["baseline_regions"],
        card=read_json(job.input.cards[0]),
        **job.settings,
    )
