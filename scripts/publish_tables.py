"""Write tables of the cohort, excluded scans and the performance on each cohort, as tsv, md and tex."""

import pandas as pd

from voxelwhy.evaluation.faithfulness import join_faithfulness
from voxelwhy.evaluation.planted.results import summarise_planted
from voxelwhy.evaluation.probed_shortcuts import with_probes
from voxelwhy.evaluation.randomised import join_randomised
from voxelwhy.evaluation.stability import join_stability
from voxelwhy.io.tables import DIFFERENCES, EXCLUDED, METRICS, SELECTED, TABLE1, read_table, write_table
from voxelwhy.io.trust_tables import CLASS_REGIONS, CLINICAL, PLANTED_CONTROLS, SHORTCUTS
from voxelwhy.jobs.doors import door
from voxelwhy.report.checklist import fill_checklist, publish_checklist
from voxelwhy.report.claim import fill_claim
from voxelwhy.report.planted import publish_planted
from voxelwhy.report.shortcuts import publish_shortcuts
from voxelwhy.report.stability import publish_stability, publish_stability_regions
from voxelwhy.report.tables import publish_excluded, publish_external, publish_metrics, publish_table1
from voxelwhy.report.trust import (
    publish_clinical,
    publish_faithfulness,
    publish_randomised,
    publish_trust,
    summarise_trust,
)


def probes(job):
    """The summaries of the probes of single maps, if there are any."""
    if not job.input.faithfulness:
        return {}
    flips = {"n_flips": job.settings["permutations"], "seed": job.settings["seed"]}
    _, faithfulness = join_faithfulness(job.input.faithfulness, **flips)
    return {"faithfulness": faithfulness, "randomised": join_randomised(job.input.randomised)}


def stability(job):
    """How far maps come out again with another training, if trainings were compared."""
    paths = job.input.trainings_maps, job.input.trainings_regions
    if not paths[0]:
        return None
    found = join_stability(*paths, classes=job.settings["classes"], seed=job.settings["seed"])
    return found.summary, found.regions


def planted(job):
    """What a loss planted in the study's controls says, if there is one."""
    paths = job.input.planted
    return {"planted": summarise_planted(read_table(paths[0], PLANTED_CONTROLS))} if paths else {}


with door(snakemake) as job:
    out, settings = job.output.stems(), job.settings
    if "excluded" in out:
        publish_excluded(read_table(job.input.excluded, EXCLUDED), out["excluded"], classes=settings["classes"])
        selected, simulated = read_table(job.input.selected, SELECTED), bool(settings["simulated"])
        for name, fill in (("checklist", fill_checklist), ("claim", fill_claim)):
            publish_checklist(fill(settings["stated"], selected, simulated=simulated), out[name], name=name)
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
    if "trust" in out:
        clinical, shortcuts = (
            read_table(paths[0], schema) if paths else None
            for paths, schema in ((job.input.clinical, CLINICAL), (job.input.shortcuts, SHORTCUTS))
        )
        if clinical is not None:
            shortcuts = with_probes(shortcuts, job.input.probed, classes=settings["classes"])
            publish_clinical(clinical, out["clinical"], of=settings["of"])
            publish_shortcuts(shortcuts, out["shortcuts"], of=settings["of"])
        methods = zip(settings["explained_methods"], job.input.class_regions, strict=True)
        regions = {method: read_table(path, CLASS_REGIONS) for method, path in methods}
        more = probes(job) | planted(job) | {"stability": stability(job), "not_compared": settings["not_compared"]}
        trust = summarise_trust(clinical, shortcuts, regions, classes=settings["classes"], **more)
        publish_trust(trust, out["trust"])
    if "faithfulness" in out:
        found = probes(job)
        publish_faithfulness(found["faithfulness"], out["faithfulness"])
        publish_randomised(found["randomised"], out["randomised"])
    if "stability" in out:
        summary, by_region = stability(job)
        publish_stability(summary, out["stability"], atlas=settings["atlas"])
        how = {"atlas": settings["atlas"], "top": settings["top"]}
        publish_stability_regions(by_region, out["stability_regions"], **how)
    if "planted_controls" in out:
        controls = pd.concat([read_table(path, PLANTED_CONTROLS) for path in job.input.assignments], ignore_index=True)
        write_table(controls, job.output.controls, PLANTED_CONTROLS)
        publish_planted(controls, out["planted_controls"])
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
