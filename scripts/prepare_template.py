"""Find the grid that all scans share, or bring the template, with or without its head, to the grid of the study."""

import nibabel as nib

from voxelwhy.io.images import Grid, read_json, write_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.jobs.doors import door
from voxelwhy.registration.scan_grid import find_grid
from voxelwhy.registration.template import DRAWN_MM, find_head, make_head_template, make_template, require_brain


def write_grid(job):
    paths = dict(zip(job.settings["scans"], job.input.scans, strict=True))
    grid, first = find_grid(paths, job.settings["resolution_mm"])
    facts = {"shape": list(grid.shape), "affine": grid.affine.tolist(), "scan": first}
    write_json(job.output.grid, facts)


def write_templates(job):
    resolution, named = job.settings["resolution_mm"], job.settings["grid"]
    grid = Grid.of_facts(read_json(job.input.grid[0])) if job.input.grid else named
    t1, mask = make_template(resolution, grid)
    if job.input.grid:
        require_brain(mask)
    drawn_mm = min(resolution, DRAWN_MM)
    images = {job.output.t1: (t1, resolution), job.output.mask: (mask, resolution)}
    images[job.output.background] = (make_template(drawn_mm, "icbm" if job.input.grid else named)[0], drawn_mm)
    card = {"template": "ICBM152 2009a nonlinear symmetric, as nilearn ships it"}
    for (path, (image, mm)), sidecar in zip(images.items(), job.output.cards, strict=True):
        nib.save(image, path)
        made = {"resolution_mm": mm, "grid": named, "versions": software_versions(["nilearn"])}
        write_json(sidecar, card | made)


def write_head(job):
    """The whole-head template, fetched or read and checked."""
    path = find_head(snakemake.resources.head_file or None)
    head, sha256 = make_head_template(path, **job.settings, sha256=snakemake.resources.head_sha256 or None)
    nib.save(head, job.output.t1)
    card = {"template": path.name, "sha256": sha256} | job.settings
    write_json(job.output.card, card | {"versions": software_versions(["nilearn"])})


with door(snakemake) as job:
    if hasattr(snakemake.resources, "head_file"):
        write_head(job)
    else:
        write_grid(job) if "scans" in job.settings else write_templates(job)
