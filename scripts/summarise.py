"""Summarise the results of a split in sentences, for the study's own test scans or for those of another study."""

from voxelwhy.io.images import write_json
from voxelwhy.io.tables import DIFFERENCES, METRICS, REGIONS, TRUTH, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.sentences import external_sentences, three_sentences

with door(snakemake) as job:
    settings = job.settings
    methods = zip(settings["explained_methods"], job.input.regions, strict=True)
    regions = {method: read_table(path, REGIONS) for method, path in methods}
    metrics = read_table(job.input.metrics[0], METRICS) if job.input.metrics else None
    difference = read_table(job.input.difference[0], DIFFERENCES) if job.input.difference else None
    if "tested" in settings:
        sentences = external_sentences(
            metrics,
            read_table(job.input.own, METRICS),
            regions,
            tested=settings["tested"],
            simulated=settings["simulated_sides"],
            classes=settings["classes"],
            difference=difference,
        )
    else:
        sentences = three_sentences(
            metrics,
            read_table(job.input.truth[0], TRUTH) if job.input.truth else None,
            simulated=settings["simulated"],
            planted=settings["planted"],
            classes=settings["classes"],
            regions=regions,
            difference=difference,
        )
    write_json(job.output.summary, {"sentences": sentences})
