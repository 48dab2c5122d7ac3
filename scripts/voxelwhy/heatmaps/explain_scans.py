"""Explain a study's test scans, each by the model of its fold, and sum the heatmaps without storing each of them."""

from __future__ import annotations

import inspect
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.errors import ConfigError
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.heatmaps.sums import MapSums, method_card
from voxelwhy.io.images import Grid, save_image, write_json
from voxelwhy.io.tables import RELEVANCE, write_table
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.networks.weights import load_model
from voxelwhy.training.volumes import Normaliser, Volumes, counted_voxels

log = logging.getLogger(__name__)

#: Above this probability a softmax has almost no gradient; the share of such scans is reported.
SATURATED = 0.999
#: Arguments of a method that the study sets itself; the config cannot set them.
OF_THE_STUDY = {"model", "image", "target_class", "apply_softmax", "cuda", "verbose", "three_d", "device"}
OF_THE_STUDY |= {"engine", "max_bytes"}


def method_options(function, options, *, voxel_mm, labels):
    """Convert the options of an explanation method in the config to its arguments.

    Lengths in mm (`stride_mm`) are converted to voxels (`stride`), at least one; the `size_mm` of a window is rounded
    to an even number of voxels. A method that takes `area_masks` receives the atlas.

    Raises
    ------
    ConfigError
        The method has no such option.
    """
    allowed = set(inspect.signature(function).parameters) - OF_THE_STUDY
    arguments = {"area_masks": labels} if "area_masks" in allowed else {}
    if "positive_only" in allowed:
        arguments["positive_only"] = False  # maps keep their sign
    for name, value in options.items():
        if name.endswith("_mm"):
            name, voxels = name.removesuffix("_mm"), value / float(np.mean(voxel_mm))
            # A window extends by half its size to each side, so its size is an even number of voxels.
            value = 2 * max(1, round(voxels / 2)) if name == "size" else max(1, round(voxels))
        if name not in allowed:
            raise ConfigError(
                f"{function.__name__} has no such option",
                found=name,
                allowed=sorted(allowed - {"area_masks", "positive_only"}),
            )
        arguments[name] = value
    return arguments


def explain_scans(
    function,
    models,
    scans,
    t1_paths,
    atlas,
    settings,
    *,
    classes,
    maps_dir,
    network_mask=None,
    device="auto",
    versions=None,
):
    """Explain test scans, each by the model of its fold: all scans of a split, or a part of them (`part_of`).

    Only relevance inside both the brain and the network mask counts. Outside the mask every scan is 0, so a gradient or
    a window there carries no information about the scan. The share of relevance outside is kept with the sums.

    Parameters
    ----------
    function : one of the methods of voxelwhy.explain
    models : dict, fold to path of its model
    scans : DataFrame by tables.PREDICTIONS, with the fold in which each scan is tested
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    settings : dict
        target (predicted, positive or true), output (probability or logit), scans (scan_ids whose single maps are
        kept), options (of the method), `judged` (whether scans are also grouped by correct and wrong predictions;
        true by default).
    maps_dir : path
        Folder for the single maps `scan_<scan_id>.nii.gz`, each with its JSON.
    network_mask : nibabel image, optional
        The network mask on the study's grid; the brain by default.

    Returns
    -------
    relevance : DataFrame by tables.RELEVANCE
    sums : MapSums of all these scans
    card : dict, the hashes of the models
    """
    label_image, regions, brain = atlas
    grid, labels = Grid.of(brain), np.asarray(label_image.dataobj).astype(np.int32)
    network_mask = brain if network_mask is None else network_mask
    counted = counted_voxels(brain, network_mask)
    names = [classes["negative"], classes["positive"]]
    sums, tables, digests = MapSums(classes, counted, judged=settings.get("judged", True)), [], {}
    started, done = time.monotonic(), 0
    for fold, tested in scans.groupby("fold", sort=True):
        explain, digests[str(fold)] = _explainer(function, models[fold], network_mask, labels, settings, grid, device)
        for scan in tested.itertuples():
            target = _target(scan, settings["target"], names)
            whole = explain(t1_paths[scan.scan_id], target)
            heatmap = np.where(counted, whole, np.float32(0))
            saturated = max(scan.probability, 1 - scan.probability) > SATURATED
            sums.add(heatmap, scan, saturated=saturated, outside=_share_outside(whole, counted))
            facts = {"scan_id": scan.scan_id, "subject_id": scan.subject_id, "label": scan.label, "fold": fold}
            facts |= {"target": names[target], "probability": scan.probability}
            tables.append(relevance_by_region(heatmap, labels, regions, grid).assign(**facts))
            if scan.scan_id in settings["scans"]:
                card = method_card(function.__name__, settings, {str(fold): digests[str(fold)]}, versions, n_scans=1)
                save_image(Path(maps_dir, f"scan_{scan.scan_id}.nii.gz"), heatmap, grid.affine, card | facts)
            done += 1
            left = (time.monotonic() - started) / done * (len(scans) - done)
            log.info("%s: scan %d of %d, about %.0f s left", function.__name__, done, len(scans), left)
    relevance = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(RELEVANCE.columns))
    return relevance, sums, {"models_sha256": digests}


def write_part(folder, relevance, sums, card):
    """Write a part to `folder`: relevance.tsv, scans.tsv (MapSums.facts), sums.npy (MapSums.values), card.json."""
    folder = Path(folder)
    write_table(relevance, folder / "relevance.tsv", RELEVANCE)
    sums.facts().to_csv(folder / "scans.tsv", sep="\t", index=False, lineterminator="\n")
    np.save(folder / "sums.npy", sums.values)
    write_json(folder / "card.json", card)


def choose_subjects(scans, most, *, kept=(), seed=0):
    """Return the rows of at most `most` subjects of each class, drawn at random, and those of the scans `kept`.

    Parameters
    ----------
    scans : DataFrame by tables.PREDICTIONS
    most : int, or None for all subjects
    kept : scan_ids that are explained in any case
    """
    if most is None:
        return scans
    chosen = scans["scan_id"].isin(kept)
    for label, own in scans.groupby("label", sort=True):
        drawn = np.random.default_rng(seed).permutation(sorted(own["subject_id"].unique()))[:most]
        chosen |= (scans["label"] == label) & scans["subject_id"].isin(drawn)
    return scans[chosen].reset_index(drop=True)


def part_of(scans, number, n_parts):
    """Return part `number` (from 0) of a table divided into `n_parts`, its rows sorted by fold and scan_id."""
    edges = [len(scans) * n // n_parts for n in (number, number + 1)]
    return scans.sort_values(["fold", "scan_id"], ignore_index=True).iloc[slice(*edges)]


def _explainer(function, path, mask, labels, settings, grid, device):
    """Return a function from a scan's path and target class to its map on the grid, and the hash of the weights."""
    model, card = load_model(path, device=device, own=settings.get("network"))
    model = in_channels_last(model)
    seen = np.asarray(mask.dataobj) > 0
    volumes = Volumes([], seen, crop=card["crop"], grid=grid, channels=card["channels"])
    normaliser = Normaliser.of_card(card["normalisation"])
    options = method_options(function, settings["options"], voxel_mm=grid.voxel_mm, labels=labels[volumes.box])
    where = next(model.parameters()).device

    def explain(scan_path, target):
        volumes.paths = [str(scan_path)]
        image = normaliser(volumes[0], volumes.mask)
        softmax = settings["output"] == "probability"
        return volumes.uncrop(
            function(model, image, target_class=target, apply_softmax=softmax, device=where, **options)
        )

    return explain, card["weights_sha256"]


def _target(scan, kind, names):
    """Return the index of the class that is explained."""
    if kind == "true":
        return names.index(scan.label)
    return 1 if kind == "positive" else int(scan.probability >= 0.5)


def _share_outside(heatmap, counted):
    """Return the share of a map's absolute relevance that does not count; 0 for a map that is zero everywhere."""
    total = np.abs(heatmap, dtype=np.float64).sum()
    return float(np.abs(heatmap[~counted], dtype=np.float64).sum() / total) if total > 0 else 0.0
