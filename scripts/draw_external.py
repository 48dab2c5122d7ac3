"""AUC and balanced accuracy on the study's own test scans and on other cohorts, side by side."""

from voxelwhy.io.tables import METRICS, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.external import draw_external

with door(snakemake) as job:
    settings = job.settings
    draw_external(
        {name: read_table(path, METRICS) for name, path in zip(settings["cohorts"], job.input.metrics, strict=True)},
        job.output.stems()["external"],
        split=settings["split"],
        n_models=settings["n_models"],
        model_titles=settings["titles"],
        n_bootstrap=settings["bootstrap"],
        simulated=settings["simulated"],
        dpi=settings["dpi"],
    )
