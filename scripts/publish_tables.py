"""Write tables of the cohort, excluded scans and the performance on each cohort, as tsv, md and tex."""

from voxelwhy.io.tables import DIFFERENCES, EXCLUDED, METRICS, TABLE1, read_table
from voxelwhy.io.trust_tables import CLINICAL, SHORTCUTS, TRUST
from voxelwhy.jobs.doors import door
from voxelwhy.report.tables import publish_excluded, publish_external, publish_metrics, publish_table1
from voxelwhy.report.trust import publish_clinical, publish_shortcuts, publish_trust

with door(snakemake) as job:
    out, settings = job.output.stems(), job.settings
    if "excluded" in out:
        publish_excluded(read_table(job.input.excluded, EXCLUDED), out["excluded"], classes=settings["classes"])
    if "table1" in out:
        publish_table1(read_table(job.input.table1, TABLE1), out["table1"], of=settings["of"])
    if "metrics" in out:
        publish_metrics(
            read_table(job.input.metrics[0], METRICS),
            out["metrics"],
            model_titles=settings["titles"],
            n_permutations=settings["permutations"],
            difference=read_table(job.input.difference[0], DIFFERENCES),
            of=settings["of"],
        )
    if "clinical" in out:
        publish_clinical(read_table(job.input.clinical[0], CLINICAL), out["clinical"], of=settings["of"])
        publish_shortcuts(read_table(job.input.shortcuts[0], SHORTCUTS), out["shortcuts"], of=settings["of"])
    if "trust" in out:
        publish_trust(read_table(job.input.trust, TRUST), out["trust"])
    if "external" in out:
        publish_external(
            {
                name: read_table(path, METRICS)
                for name, path in zip(settings["cohorts"], job.input.metrics, strict=True)
            },
            out["external"],
            split=settings["split_name"],
            n_models=settings["n_models"],
            model_titles=settings["titles"],
        )
