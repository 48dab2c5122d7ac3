"""Draw the flow from table rows to scans, and every registration, the worst first."""

from voxelwhy.io.tables import DROPPED, EXCLUDED, SCANS, SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.manifests import read_registered
from voxelwhy.report.figures.cohort import count_flow, draw_flow, draw_quality, draw_registration_page
from voxelwhy.report.strip import registration_table

with door(snakemake) as job:
    classes, out = job.settings["classes"], job.output.stems()
    how = {"simulated": job.settings["simulated"], "dpi": job.settings["dpi"]}
    scans, selected = read_table(job.input.scans, SCANS), read_table(job.input.selected, SELECTED)
    dropped, excluded = read_table(job.input.dropped, DROPPED), read_table(job.input.excluded, EXCLUDED)
    draw_flow(count_flow(scans, dropped, selected, excluded, classes=classes), out["flow"], **how)
    draw_quality(selected, out["quality"], classes=classes, **how)
    quality = registration_table(*read_registered(job.input.registered), scans)
    draw_registration_page(
        quality, out["registration"], settings=job.settings["registration"], simulated=how["simulated"]
    )
