"""Draw weights and pattern of the baseline over the template."""

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.baseline import draw_baseline_map

with door(snakemake) as job:
    draw_baseline_map(
        dict(zip(BASELINE_MAPS, job.input.maps, strict=True)),
        job.input.t1,
        job.output.stems()["baseline_map"],
        card=read_json(job.input.cards[0]),
        simulated=job.settings["simulated"],
        **job.settings["shown"],
    )
