"""Write the page of a new scan, and its viewer."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from voxelwhy.io.tables import METRICS, REGIONS, read_table
from voxelwhy.io.text import count, duration, listing, method_name, method_title, number
from voxelwhy.report.cards import readable
from voxelwhy.report.images import embed_image
from voxelwhy.report.new_scan.figure import draw_map, draw_scores
from voxelwhy.report.new_scan.limits import list_limits
from voxelwhy.report.sentences import pooled_metric, with_interval
from voxelwhy.report.viewer.maps import Viewed, relevance_maps
from voxelwhy.report.viewer.page import write_viewer

#: Regions in the table, and regions that are named for each further method.
SHOWN, NAMED = 10, 3
#: Percentiles among controls beyond which the volume of a region is counted as unusual.
UNUSUAL = (5, 95)
PAGE, VIEWER = "page.html", "viewer.html"
_HERE = Path(__file__).parent


def write_page(study, reference, result, regions, volumes, folder, *, shown_at):
    """Write page.html and viewer.html of a new scan into `folder`.

    Parameters
    ----------
    study, reference : FinishedStudy and Reference of evaluation.new_scan
    result : dict, the content of result.json
    regions, volumes : DataFrames of compare_regions and compare_volumes
    folder : path, with t1.nii and the maps
    shown_at : path, where the folder will lie: links to the study's report start there
    """
    folder, classes = Path(folder), list(study.classes.values())
    best, score = result["methods"][0]["method"], result["score"]
    own = regions[regions["method"] == best].sort_values("rank", kind="stable")
    means = {name: study.of_split("heatmaps", best, "maps", f"mean_{name}_scaled.nii.gz") for name in classes}
    caption = draw_map(
        folder / f"map_{best}.nii.gz",
        folder / "t1.nii",
        {name: path for name, path in means.items() if path.exists()},
        study.path("template/background.nii.gz"),
        folder / "map",
        words=f"Relevance by {method_name(best)} for {result['methods'][0]['explained']}, mean over "
        f"{result['study']['n_networks']} networks, over the registered scan.",
        simulated=study.simulated,
    )
    strip = draw_scores(
        reference.scores, score["probability"], score["low"], score["high"],
        words=f"Probabilities of the study's subjects by class, and {number(score['probability'])} for this scan"
    )  # fmt: skip
    _write_viewer(study, result, regions, folder)
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"number": number, "title": method_title, "readable": readable, "percentile": _percentile}
    page = environment.get_template("page.html.j2").render(
        result=result,
        classes=classes,
        positive=study.classes["positive"],
        best=result["methods"][0],
        top=own.head(SHOWN).merge(volumes, on=["region_id", "region"], suffixes=("", "_volume")).to_dict("records"),
        n_maps={name: int(own[f"n_{name}"].max()) for name in classes if f"n_{name}" in own},
        n_volumes={name: int(volumes[f"n_{name}"].max()) for name in classes if f"n_{name}" in volumes},
        others=[_first_regions(regions, one) for one in result["methods"]],
        unusual=_count_unusual(volumes, study.classes["negative"]),
        volume_words=reference.volume_words,
        picture=embed_image(folder / "map.png", 150),
        caption=caption,
        strip=strip,
        limits=list_limits(study, result),
        performance=_performance(study),
        alarms=reference.alarm_words,
        flagged=[check for check in result["checks"] if not check["passed"]],
        atlas=study.atlas,
        report=Path(os.path.relpath(study.path("report.html"), shown_at)).as_posix(),
        viewer=VIEWER,
        took=duration(result["seconds"]["all"]),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    for ending in ("png", "svg", "json"):
        (folder / f"map.{ending}").unlink()


def _percentile(row):
    """A percentile with its interval for a table: "98 (89 to 100)"."""
    if row["percentile"] is None or not np.isfinite(row["percentile"]):
        return "–"
    return f"{row['percentile']:.0f} ({row['low']:.0f} to {row['high']:.0f})"


def _first_regions(regions, method):
    own = regions[regions["method"] == method["method"]].sort_values("rank", kind="stable")
    return method | {"first": listing([readable(name) for name in own["region"].head(NAMED)])}


def _count_unusual(volumes, negative):
    """Regions below and above the percentiles UNUSUAL of controls, of how many, and how many are expected by chance."""
    if f"percentile_{negative}" not in volumes:
        return None
    known = volumes[f"percentile_{negative}"].dropna()
    below, above = int((known < UNUSUAL[0]).sum()), int((known > UNUSUAL[1]).sum())
    return {"below": below, "above": above, "of": len(known), "expected": round(len(known) * UNUSUAL[0] / 100)}


def _performance(study):
    """How well the networks separate the study's own subjects, in words; "" if that is not known."""
    path = study.of_split("evaluation/metrics.tsv")
    row = pooled_metric(read_table(path, METRICS), "cnn", "auc") if path.exists() else None
    return "" if row is None else f"AUC {with_interval(row)}, {int(row['n_subjects'])} subjects"


def _write_viewer(study, result, regions, folder):
    names = [one["method"] for one in result["methods"]]
    folders = {name: study.of_split("heatmaps", name, "maps") for name in names}
    counts = {
        name: pd.read_csv(study.of_split("heatmaps", name, "groups.tsv"), sep="\t", index_col="group") for name in names
    }
    tables = {name: read_table(study.of_split("regions", f"{name}.tsv"), REGIONS) for name in names}
    n = f"1 scan, {count(result['study']['n_networks'], 'network')}"
    own = [
        Viewed(
            folder / f"map_{name}.nii.gz",
            method_title(name),
            "this scan",
            n=n,
            regions=regions[regions["method"] == name],
        )
        for name in names
    ]
    write_viewer(
        {"this scan": own} | relevance_maps(folders, counts, tables, list(study.classes.values())),
        folder / VIEWER,
        needed=["this scan"],
        background=study.path("template/background.nii.gz"),
        mask=study.path("template/brain_mask.nii.gz"),
        labels=study.path("atlas/labels.nii.gz"),
        atlas=study.regions,
        figure=folder / "map.png",
        simulated=study.simulated,
        banner=("Simulated study.", "The networks and the mean maps of its groups are of scans that a program made."),
        title=f"{result['scan']['name']} in {study.name}",
        report=PAGE,
        atlas_name=study.atlas,
    )
