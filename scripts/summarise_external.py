"""The sentences that a test on another cohort comes to."""

from voxelwhy.io.images import write_json
from voxelwhy.io.tables import METRICS, REGIONS, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.sentences import external_sentences

with door(snakemake) as job:
    regions = zip(job.settings["methods"], job.input.regions, strict=True)
    sentences = external_sentences(
        read_table(job.input.metrics, METRICS),
        read_table(job.input.own, METRICS),
        {method: read_table(path, REGIONS) for method, path in regions},
        tested=job.settings["tested"],
        simulated=job.settings["simulated"],
        classes=job.settings["classes"],
    )
    write_json(job.output.summary, {"sentences": sentences})
