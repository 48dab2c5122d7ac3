"""Put the assignments of planted controls together: which methods detect the loss, also to read and for papers."""

import pandas as pd

from voxelwhy.io.tables import read_table, write_table
from voxelwhy.io.trust_tables import PLANTED_CONTROLS
from voxelwhy.jobs.doors import door
from voxelwhy.report.planted import publish_planted

with door(snakemake) as job:
    controls = pd.concat([read_table(path, PLANTED_CONTROLS) for path in job.input.assignments], ignore_index=True)
    write_table(controls, job.output.controls, PLANTED_CONTROLS)
    publish_planted(controls, job.output.stems()["planted_controls"])
