"""Draw the regions with the most relevance by method, for patients and for controls."""

from voxelwhy.io.tables import REGIONS, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.relevance import draw_region_ranking

with door(snakemake) as job:
    methods = job.settings["heatmaps"]["methods"]
    tables = {m: read_table(path, REGIONS) for m, path in zip(methods, job.input.regions, strict=True)}
    for name, out in job.output.stems().items():
        draw_region_ranking(
            tables,
            out,
            group=name.removeprefix("regions_"),
            settings=job.settings["heatmaps"],
            simulated=job.settings["simulated"],
            of=job.settings["of"],
            atlas=job.settings["atlas"],
            top=job.settings["top"],
            dpi=job.settings["dpi"],
        )
