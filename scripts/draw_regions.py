"""Draw the regions with the most relevance by method, for patients and for controls."""

from voxelwhy.io.tables import REGIONS, read_table
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.relevance import draw_region_ranking
from voxelwhy.report.figures.trust import draw_class_regions

with door(snakemake) as job:
    methods = job.settings["heatmaps"]["methods"]
    tables = {m: read_table(path, REGIONS) for m, path in zip(methods, job.input.regions, strict=True)}
    stems = job.output.stems()
    of = {name: read_table(path, CLASS_REGIONS) for name, path in zip(methods, job.input.class_regions, strict=True)}
    how = {name: job.settings[name] for name in ("classes", "atlas", "simulated", "of", "dpi")}
    draw_class_regions(of, stems.pop("class_regions"), several_folds=job.settings["n_models"] > 1, **how)
    for name, out in stems.items():
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
