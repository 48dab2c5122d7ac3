"""Draw maps over the template: by group, of the best method, of the baseline, imported; or write a viewer of all."""

from pathlib import Path

import pandas as pd

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import BASELINE_MAPS, TRUTH, read_table
from voxelwhy.io.trust_tables import PLANTED_CONTROLS
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.baseline import draw_baseline_map
from voxelwhy.report.figures.headline import draw_headline
from voxelwhy.report.figures.imported import draw_imported
from voxelwhy.report.figures.relevance import draw_group_maps
from voxelwhy.report.findings import read_findings
from voxelwhy.report.planted import planted_notes
from voxelwhy.report.viewer.split import write_split_viewer


def draw_own(job, out, group):
    heatmaps = job.settings["heatmaps"]
    folders = dict(zip(heatmaps["methods"], job.input.maps, strict=True))
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group").loc[group]
    planted = {}
    if job.input.truth and group == job.settings["classes"]["positive"]:
        log_jacobian = Path(job.input.planted[0], "log_jacobian.nii.gz")
        planted = {"truth": read_table(job.input.truth[0], TRUTH), "log_jacobian_path": log_jacobian}
        planted["planted"] = job.settings["planted"]
    if job.input.controls and group == job.settings["classes"]["positive"]:
        planted["controls"] = planted_notes(read_table(job.input.controls[0], PLANTED_CONTROLS))
    draw_group_maps(
        {method: Path(folder, f"mean_{group}_scaled.nii.gz") for method, folder in folders.items()},
        job.input.t1,
        out,
        group=group,
        n_subjects=int(counts["n_subjects"]),
        n_scans=int(counts["n_scans"]),
        settings=heatmaps,
        **planted,
        **{name: job.settings[name] for name in ("simulated", "of", "n_folds")},
        **job.settings["shown"],
    )


def draw_best(job, out):
    classes, heatmaps = job.settings["classes"], job.settings["heatmaps"]
    best = read_findings(job.input, methods=job.settings["methods"], classes=classes).supports[0]
    folder = job.input.maps[job.settings["methods"].index(best.method)]
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")
    draw_headline(
        {group: Path(folder, f"mean_{group}_scaled.nii.gz") for group in classes.values()},
        job.input.t1,
        out,
        method=best.method,
        phrase=best.phrase,
        counts={group: (int(row["n_subjects"]), int(row["n_scans"])) for group, row in counts.iterrows()},
        settings=heatmaps,
        **{name: job.settings[name] for name in ("simulated", "n_folds")},
        **job.settings["shown"],
    )


def draw_baseline(job, out):
    maps, card = dict(zip(BASELINE_MAPS, job.input.maps, strict=True)), read_json(job.input.cards[0])
    draw_baseline_map(maps, job.input.t1, out, card=card, simulated=job.settings["simulated"], **job.settings["shown"])


def draw_imported_maps(job, out, group):
    cards = [read_json(path) for path in job.input.cards]
    maps = [(path, card) for path, card in zip(job.input.maps, cards, strict=True) if card["group"] == group]
    draw_imported(maps, job.input.t1, out, group=group, **job.settings["shown"])


with door(snakemake) as job:
    for name, out in job.output.stems().items():
        group = name.removeprefix("heatmaps_")
        if name == "viewer":
            write_split_viewer(job.input, job.settings, out.with_suffix(".html"))
        elif name == "baseline_map":
            draw_baseline(job, out)
        elif name == "headline":
            draw_best(job, out)
        elif job.input.get("cards"):
            draw_imported_maps(job, out, group)
        else:
            draw_own(job, out, group)
