"""Select the registered scans, and record why all others are not used."""

from voxelwhy.io.tables import DROPPED, EXCLUDED, SCANS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.manifests import read_registered
from voxelwhy.registration.selection import require_known, select_scans

with door(snakemake) as job:
    folders, qualities = read_registered(job.input.registered)
    selected, excluded = select_scans(
        read_table(job.input.scans, SCANS),
        read_table(job.input.dropped, DROPPED),
        qualities,
        {scan: str(folder / "t1.nii") for scan, folder in folders.items()},
        limits=job.settings["limits"],
        skip=job.settings["skip"],
    )
    require_known(job.settings["heatmap_scans"], selected, excluded, "heatmaps.scans")
    write_table(selected, job.output.selected, SELECTED)
    write_table(excluded, job.output.excluded, EXCLUDED)
