"""Maps of the same scans by several trainings of one fold: how far they agree, and their relevance by region."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import pandas as pd

from voxelwhy.evaluation.randomised import unit_ranks
from voxelwhy.heatmaps.explain_scans import Explainer, choose_subjects
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.trust_tables import TRAININGS_MAPS, TRAININGS_REGIONS
from voxelwhy.networks.weights import load_model
from voxelwhy.training.volumes import counted_voxels

log = logging.getLogger(__name__)


def compare_trainings(models, tested, t1_paths, atlas, network_mask, settings, *, seed, device="auto"):
    """Explain some test scans of one fold by each training and every method, and compare the maps of a scan.

    Parameters
    ----------
    models : list of paths, the trainings of the fold, that of the study first
    tested : DataFrame by tables.PREDICTIONS, of the fold
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    network_mask : nibabel image
    settings : dict; methods with their options, output, subjects (of each class), network (of your own, or None)
    seed : int, of the choice of subjects

    Returns
    -------
    DataFrames by trust_tables.TRAININGS_MAPS and TRAININGS_REGIONS; all maps explain the positive class
    """
    label_image, table, brain = atlas
    labels, counted = np.asarray(label_image.dataobj).astype(np.int32), counted_voxels(brain, network_mask)
    explain = {method: [] for method in settings["methods"]}
    for path in models:
        model, card = load_model(path, device=device, own=settings["network"])
        for method, options in settings["methods"].items():
            asked = {"options": options or {}, "output": settings["output"]}
            explain[method].append(Explainer.by(method, model, card, network_mask, labels, asked))
    # Normalisation is that of the training scans, which all trainings of a fold share.
    read = next(iter(explain.values()))[0].read
    chosen = choose_subjects(tested, settings["subjects"], seed=seed).drop_duplicates(["subject_id", "label"])
    of_maps, of_regions = [], []
    for number, scan in enumerate(chosen.itertuples(), start=1):
        volume = read(t1_paths[scan.scan_id])
        facts = {name: getattr(scan, name) for name in ("fold", "scan_id", "subject_id", "label")}
        for method, trainings in explain.items():
            maps = [own(volume, 1) for own in trainings]
            of_maps += [facts | {"method": method} | row for row in compare_maps(np.stack(maps)[:, counted])]
            for training, heatmap in enumerate(maps):
                found = relevance_by_region(heatmap, labels, table, counted)[["region_id", "region", "enrichment"]]
                of_regions.append(found.assign(**facts, method=method, training=training))
        log.info("scan %d of %d explained by %d trainings", number, len(chosen), len(models))
    of_regions = pd.concat(of_regions, ignore_index=True)[list(TRAININGS_REGIONS.columns)]
    return pd.DataFrame(of_maps)[list(TRAININGS_MAPS.columns)], of_regions


def compare_maps(maps):
    """Correlate the maps of one scan between trainings, and means over some trainings with means over others.

    Parameters
    ----------
    maps : array (trainings, voxels)

    Returns
    -------
    list of dict: averaged (the number of trainings behind each side), first and second (their numbers, such as "0+1"),
    spearman (0 if a map is constant). A mean is the map of an ensemble of these trainings (`networks.ensemble`)
    """
    rows = []
    for averaged in range(1, len(maps) // 2 + 1):
        sides = comparisons(len(maps), averaged)
        ranks = {side: unit_ranks(maps[list(side)].mean(axis=0)) for side in dict.fromkeys(sum(sides, ()))}
        for one, other in sides:
            names = {name: "+".join(map(str, side)) for name, side in (("first", one), ("second", other))}
            rows.append({"averaged": averaged} | names | {"spearman": float(ranks[one] @ ranks[other])})
    return rows


def comparisons(n, averaged):
    """Pairs of disjoint sets of `averaged` out of `n` trainings: all pairs of single trainings, else n rotations.

    Each training takes part in as many comparisons as any other.

    >>> comparisons(3, 1)
    [((0,), (1,)), ((0,), (2,)), ((1,), (2,))]
    >>> comparisons(4, 2)
    [((0, 1), (2, 3)), ((0, 3), (1, 2))]
    """
    if averaged == 1:
        return [((one,), (other,)) for one, other in combinations(range(n), 2)]
    found = {}
    for start in range(n):
        places = [(start + k) % n for k in range(2 * averaged)]
        sides = sorted((tuple(sorted(places[:averaged])), tuple(sorted(places[averaged:]))))
        found[tuple(sides)] = None
    return list(found)
