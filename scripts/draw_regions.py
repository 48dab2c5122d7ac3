"""Draw regions with the most relevance, how far mean maps agree, or what the probes of single maps show."""

import pandas as pd

from voxelwhy.evaluation.faithfulness import join_faithfulness
from voxelwhy.evaluation.randomised import join_randomised
from voxelwhy.evaluation.stability import join_stability
from voxelwhy.io.tables import AGREEMENT, REGIONS, read_table
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.agreement import draw_agreement
from voxelwhy.report.figures.probes import draw_faithfulness, draw_randomised
from voxelwhy.report.figures.relevance import draw_region_ranking, draw_saturation
from voxelwhy.report.figures.stability import draw_stability
from voxelwhy.report.figures.trust import draw_class_regions


def draw_regions(job, out, settings):
    methods = settings["heatmaps"]["methods"]
    tables = {m: read_table(path, REGIONS) for m, path in zip(methods, job.input.regions, strict=True)}
    of = {name: read_table(path, CLASS_REGIONS) for name, path in zip(methods, job.input.class_regions, strict=True)}
    how = {name: settings[name] for name in ("simulated", "of", "atlas", "dpi")}
    several = settings["n_models"] > 1
    draw_class_regions(of, out.pop("class_regions"), classes=settings["classes"], several_folds=several, **how)
    for name, place in out.items():
        group = name.removeprefix("regions_")
        draw_region_ranking(tables, place, group=group, settings=settings["heatmaps"], top=settings["top"], **how)


def draw_maps(job, out, settings):
    group, how = settings["classes"]["positive"], {key: settings[key] for key in ("simulated", "of", "dpi")}
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")
    counts = counts[counts["n_scans"] > 0]
    n = {f"n_{unit}": int(counts.loc[group, f"n_{unit}"]) for unit in ("subjects", "scans")}
    draw_agreement(read_table(job.input.agreement, AGREEMENT), out["agreement"], group=group, **n, **how)
    shares, scans = counts["share_saturated"].to_dict(), counts["n_scans"].to_dict()
    draw_saturation(shares, out["saturation"], n_scans=scans, **how)


def draw_probes(job, out, settings):
    how = {key: settings[key] for key in ("simulated", "dpi")}
    if "faithfulness" in out:
        flips = {"n_flips": settings["permutations"], "seed": settings["seed"]}
        draw_faithfulness(*join_faithfulness(job.input.faithfulness, **flips), out["faithfulness"], **how)
        draw_randomised(join_randomised(job.input.randomised), out["randomised"], **how)
    if "stability" in out:
        paths, of = (job.input.trainings_maps, job.input.trainings_regions), {"classes": settings["classes"]}
        found = join_stability(*paths, seed=settings["seed"], **of)
        shown = found.summary, found.regions, found.matrices, found.ranks
        draw_stability(*shown, out["stability"], atlas=settings["atlas"], **how)


with door(snakemake) as job:
    out = job.output.stems()
    draw = draw_maps if "agreement" in out else draw_regions if "class_regions" in out else draw_probes
    draw(job, out, job.settings)
