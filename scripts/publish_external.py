"""Every metric on the study's own test scans and on other cohorts, as tsv, md and tex."""

from voxelwhy.doors import door
from voxelwhy.publish_external import publish_external
from voxelwhy.tables import METRICS, read_table

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
