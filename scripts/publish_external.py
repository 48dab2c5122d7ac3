"""Every metric on the study's own test scans and on other cohorts, as tsv, md and tex."""

from voxelwhy.io.tables import METRICS, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_external

with door(snakemake) as job:
    settings = job.settings
    publish_external(
        {name: read_table(path, METRICS) for name, path in zip(settings["cohorts"], job.input.metrics, strict=True)},
        job.output.stems()["external"],
        split=settings["split"],
        n_models=settings["n_models"],
        model_titles=settings["titles"],
        n_bootstrap=settings["bootstrap"],
    )
