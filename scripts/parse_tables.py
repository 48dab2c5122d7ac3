"""Read the diagnosis table into the study's table of scans; each row that is not used gets a reason."""

from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.skull_stripping import judge_cohort
from voxelwhy.io.images import write_json
from voxelwhy.io.tables import DROPPED, SCANS, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.selection import require_known

with door(snakemake) as job:
    scans, dropped, _ = parse_tables(job.settings["cohort"])
    write_table(scans, job.output.scans, SCANS)
    write_table(dropped, job.output.dropped, DROPPED)
    require_known(job.settings["skip"], scans, dropped, "registration.skip")
    looked_at = scans[~scans["scan_id"].isin(job.settings["skip"])]
    paths = dict(zip(looked_at["scan_id"], looked_at["path"], strict=True))
    write_json(job.output.skull, judge_cohort(paths, job.settings["skull_stripped"], job.settings["modality"]))
