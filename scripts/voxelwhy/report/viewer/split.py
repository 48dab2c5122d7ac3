"""The viewer of a split: which maps it shows, from the files of the study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import ATLAS, BASELINE_MAPS, BASELINE_RELEVANCE, IMPORTED, REGIONS, read_table
from voxelwhy.report.viewer.maps import baseline_maps, imported_maps, planted_map, relevance_maps
from voxelwhy.report.viewer.page import write_viewer


def write_split_viewer(inputs, settings, out_path):
    """Write the viewer of a split.

    Parameters
    ----------
    inputs : the inputs of rule write_viewer
    settings : its settings: study, split_title, methods, classes, atlas, planted, simulated, of, dpi
    out_path : path of the HTML file
    """
    write_viewer(
        split_maps(inputs, settings),
        out_path,
        needed=settings["classes"].values(),
        background=inputs.background,
        mask=inputs.mask,
        labels=inputs.labels,
        atlas=read_table(inputs.atlas, ATLAS),
        figure=inputs.figure,
        simulated=settings["simulated"],
        title=f"{settings['study']}, {settings['split_title']}",
        report="../../report.html",
        atlas_name=settings["atlas"],
    )


def split_maps(inputs, settings):
    """All maps of a split by group: those of the classes first, then those that belong to no group, then the others."""
    methods, classes = settings["methods"], list(settings["classes"].values())
    counts = {
        method: pd.read_csv(path, sep="\t", index_col="group")
        for method, path in zip(methods, inputs.groups, strict=True)
    }
    regions = {method: read_table(path, REGIONS) for method, path in zip(methods, inputs.regions, strict=True)}
    folders = dict(zip(methods, inputs.maps, strict=True))
    others = [group for group in next(iter(counts.values())).index if group not in classes]
    of_groups = relevance_maps(folders, counts, regions, [*classes, *others], settings["of"])
    return (
        {group: of_groups[group] for group in classes if group in of_groups}
        | {"planted truth, baseline and imported maps": _without_group(inputs, settings)}
        | {group: of_groups[group] for group in others if group in of_groups}
    )


def _without_group(inputs, settings):
    found = []
    if inputs.truth:
        path = Path(inputs.truth[0], "log_jacobian.nii.gz")
        found.append(planted_map(path, settings["planted"], settings["simulated"]))
    if inputs.baseline:
        *paths, relevance = inputs.baseline
        cards = [read_json(path.replace(".nii.gz", ".json")) for path in paths]
        paths = dict(zip(BASELINE_MAPS, paths, strict=True))
        found += baseline_maps(paths, cards, read_table(relevance, BASELINE_RELEVANCE))
    tables = [read_table(path, IMPORTED) for path in inputs.imported_regions]
    return found + imported_maps(inputs.imported, [read_json(path) for path in inputs.cards], tables)
