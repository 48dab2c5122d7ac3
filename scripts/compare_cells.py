"""Combine the runs of a comparison into its tables and its figure."""

from pathlib import Path

from voxelwhy.comparison.cells import read_cell
from voxelwhy.comparison.report import report_comparison
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    out = {name: Path(getattr(job.output, name)[0]).with_suffix("") for name in ("table", "figure")}
    out |= {name: getattr(job.output, name) for name in ("cells", "methods", "findings")}
    out["regions"] = next(iter(job.output.regions), None)
    report_comparison([read_cell(path) for path in job.input.cells], job.input.t1, out, job.settings)
