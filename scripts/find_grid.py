"""Find the grid that all scans share, where the study's grid is that of its scans."""

from voxelwhy.io.images import write_json
from voxelwhy.jobs.doors import door
from voxelwhy.registration.scan_grid import find_grid

with door(snakemake) as job:
    paths = dict(zip(job.settings["scans"], job.input.scans, strict=True))
    grid, first = find_grid(paths, job.settings["resolution_mm"])
    facts = {"shape": list(grid.shape), "affine": grid.affine.tolist(), "scan": first}
    write_json(job.output.grid, facts)
