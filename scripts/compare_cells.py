"""Put the cells of a comparison together: tables and figure."""

from voxelwhy.comparison.cells import read_cell
from voxelwhy.comparison_report import report_comparison
from voxelwhy.doors import door

with door(snakemake) as job:
    out = job.output.stems()
    report_comparison(
        [read_cell(path) for path in job.input.cells],
        job.input.t1,
        {"cells": job.output.cells, "methods": job.output.methods, "table": out["table"], "figure": out["figure"]},
        job.settings,
    )
