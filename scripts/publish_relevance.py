"""Write tables of relevance by region, agreement and planted truth, or of the baseline or imported maps."""

import pandas as pd

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import (
    AGREEMENT,
    ATLAS,
    BASELINE_RELEVANCE,
    IMPORTED,
    REGIONS,
    SCORED_REGIONS,
    TRUTH,
    read_table,
)
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.report.relevance_tables import (
    publish_agreement,
    publish_baseline_regions,
    publish_imported,
    publish_regions,
    publish_truth,
    publish_truth_regions,
)
from voxelwhy.report.trust import publish_class_regions


def publish_own(job, out, settings):
    groups = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")[["n_subjects", "n_scans"]]
    heatmaps, positive = settings["heatmaps"], settings["classes"]["positive"]
    everybody, patients = (groups.loc[group].to_dict() for group in ("all", positive))
    agreement = read_table(job.input.agreement, AGREEMENT)
    publish_agreement(agreement, out["agreement"], settings=heatmaps, of=settings["of"], **everybody)
    tables = {m: read_table(p, REGIONS) for m, p in zip(heatmaps["methods"], job.input.regions, strict=True)}
    for group in settings["classes"].values():
        how = {key: settings[key] for key in ("atlas", "top", "of")}
        publish_regions(tables, out[f"regions_{group}"], group=group, settings=heatmaps, **how)
    of = {m: read_table(p, CLASS_REGIONS) for m, p in zip(heatmaps["methods"], job.input.class_regions, strict=True)}
    how = {key: settings[key] for key in ("classes", "atlas", "of", "top")}
    publish_class_regions(of, out["class_regions"], **how)
    if job.input.truth:
        truth = read_table(job.input.truth[0], TRUTH)
        publish_truth(truth, out["truth"], group=positive, settings=heatmaps, planted=settings["planted"], **patients)
        how = {"threshold": truth["threshold"].iloc[0], "atlas": settings["atlas"], "group": positive}
        how |= {"planted": settings["planted"], "simulated": settings["simulated"]}
        planted = read_table(job.input.truth_regions[0], SCORED_REGIONS)
        publish_truth_regions(planted, out["truth_regions"], **how)


def publish_baseline(job, out, settings):
    relevance, regions = read_table(job.input.relevance, BASELINE_RELEVANCE), read_table(job.input.regions, ATLAS)
    publish_baseline_regions(
        relevance, regions, out["baseline_regions"], card=read_json(job.input.cards[0]), **settings
    )


def publish_imported_maps(job, out, settings):
    cards = [read_json(path) for path in job.input.cards]
    tables = [read_table(path, IMPORTED) for path in job.input.regions]
    for name, place in out.items():
        group = name.removeprefix("regions_")
        chosen = [number for number, card in enumerate(cards) if card["group"] == group]
        publish_imported([tables[n] for n in chosen], [cards[n] for n in chosen], place, group=group, **settings)


with door(snakemake) as job:
    publish = publish_imported_maps if job.input.get("cards") else publish_own
    publish = publish_baseline if job.input.get("relevance") else publish
    publish(job, job.output.stems(), job.settings)
