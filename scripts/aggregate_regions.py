"""Aggregate relevance by atlas region and group of scans, and compare it with that of shuffled diagnoses."""

from voxelwhy.evaluation.draws import compare_regions, join_folds
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.tables import ATLAS, REGIONS, RELEVANCE, SHUFFLED, read_pieces, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.regions.aggregate import aggregate_regions

with door(snakemake) as job:
    groups = Groups(*(job.settings[name] for name in ("classes", "judged", "target")))
    regions = aggregate_regions(
        read_pieces(job.input.relevance, RELEVANCE),
        read_table(job.input.regions, ATLAS),
        groups,
    )
    tables = [read_table(path, SHUFFLED) for path in job.input.shuffled]
    draws = join_folds(tables)[job.wildcards.method] if tables else None
    regions = compare_regions(regions, draws, group=groups.classes["positive"])
    write_table(regions, job.output.regions, REGIONS)
