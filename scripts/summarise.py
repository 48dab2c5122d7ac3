"""The three sentences that the study comes to."""

from voxelwhy.io.images import write_json
from voxelwhy.io.tables import METRICS, REGIONS, TRUTH, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.sentences import three_sentences

with door(snakemake) as job:
    regions = zip(job.settings["methods"], job.input.regions, strict=True)
    sentences = three_sentences(
        read_table(job.input.metrics[0], METRICS) if job.input.metrics else None,
        read_table(job.input.truth[0], TRUTH) if job.input.truth else None,
        simulated=job.settings["simulated"],
        planted=job.settings["planted"],
        classes=job.settings["classes"],
        regions={method: read_table(path, REGIONS) for method, path in regions},
    )
    write_json(job.output.summary, {"sentences": sentences})
