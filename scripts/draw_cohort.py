"""Draw the flow from table rows to scans, and every registration, the worst first."""

import pandas as pd

from voxelwhy.io.tables import DROPPED, EXCLUDED, SCANS, SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.manifests import read_registered
from voxelwhy.report.figures.cohort import count_flow, draw_flow, draw_quality, draw_registration_page

with door(snakemake) as job:
    classes, out = job.settings["classes"], job.output.stems()
    how = {"simulated": job.settings["simulated"], "dpi": job.settings["dpi"]}
    scans, selected = read_table(job.input.scans, SCANS), read_table(job.input.selected, SELECTED)
    dropped, excluded = read_table(job.input.dropped, DROPPED), read_table(job.input.excluded, EXCLUDED)
    draw_flow(count_flow(scans, dropped, selected, excluded, classes=classes), out["flow"], **how)
    draw_quality(selected, out["quality"], classes=classes, **how)
    folders, qualities = read_registered(job.input.registered)
    quality = pd.DataFrame([q | {"check": str(folders[scan] / "check.png")} for scan, q in qualities.items()])
    quality = quality.merge(scans[["scan_id", "label"]], on="scan_id")
    draw_registration_page(
        quality, out["registration"], settings=job.settings["registration"], simulated=how["simulated"]
    )
