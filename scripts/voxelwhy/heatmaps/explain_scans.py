"""Explain a study's test scans, each by the model of its fold, and sum the heatmaps without storing each of them."""

from __future__ import annotations

import inspect
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.errors import ConfigError
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.heatmaps.sums import MapSums, method_card
from voxelwhy.io.images import Grid, save_image, write_json
from voxelwhy.io.tables import RELEVANCE, write_table
from voxelwhy.networks.ensemble import members_of
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.networks.weights import load_model
from voxelwhy.registry import METHODS, load
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

    With the target "positive", the maps of the classes and of all scans explain the positive class. Those of true and
    false negatives and of single scans explain the predicted class (`groups.Groups`). With another target, a map of one
    class is, for some methods, the negative of that of the other. Negative values are then set to 0 before maps are
    averaged, as by Rieke et al. 2018; single maps keep theirs.

    Parameters
    ----------
    function : one of the methods of voxelwhy.explain
    models : dict, fold to path of its model
    scans : DataFrame by tables.PREDICTIONS, with the fold in which each scan is tested
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    settings : dict
        target (positive, predicted or true), output (probability or logit), scans (scan_ids whose single maps are
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
    labels = np.asarray(label_image.dataobj).astype(np.int32)
    network_mask = brain if network_mask is None else network_mask
    counted = counted_voxels(brain, network_mask)
    groups = Groups(classes, settings.get("judged", True), settings["target"])
    sums, tables, digests = MapSums(groups, counted), [], {}
    started, done = time.monotonic(), 0
    for fold, tested in scans.groupby("fold", sort=True):
        model, card = load_model(models[fold], device=device, own=settings.get("network"))
        explain = Explainer(function, model, card, network_mask, labels, settings)
        digests[str(fold)] = card["weights_sha256"]
        for scan in tested.itertuples():
            volume, facts = explain.read(t1_paths[scan.scan_id]), _facts(scan)
            in_groups = groups.explained(scan.label, scan.probability)
            kept = [groups.shown(scan.label, scan.probability)] if scan.scan_id in settings["scans"] else []
            for name in dict.fromkeys([*in_groups, *kept]):
                whole = explain(volume, 0 if name == classes["negative"] else 1)
                heatmap = np.where(counted, whole, np.float32(0))
                if name in in_groups:
                    averaged = heatmap if settings["target"] == "positive" else np.maximum(heatmap, 0)
                    saturated = max(scan.probability, 1 - scan.probability) > SATURATED
                    outside = _share_outside(whole, counted)
                    sums.add(averaged, scan, explained=name, saturated=saturated, outside=outside)
                    by_region = relevance_by_region(averaged, labels, regions, counted)
                    tables.append(by_region.assign(target=name, **facts))
                if name in kept:
                    own = {str(fold): digests[str(fold)]}
                    how = {"target": "true" if settings["target"] == "true" else "predicted", "n_scans": 1}
                    scan_card = method_card(function.__name__, settings, own, versions, **how)
                    path = Path(maps_dir, f"scan_{scan.scan_id}.nii.gz")
                    save_image(path, heatmap, explain.volumes.grid.affine, scan_card | facts | {"target": name})
            done += 1
            left = (time.monotonic() - started) / done * (len(scans) - done)
            log.info("%s: scan %d of %d, about %.0f s left", function.__name__, done, len(scans), left)
    relevance = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(RELEVANCE.columns))
    return relevance, sums, {"models_sha256": digests}


def _facts(scan):
    return {name: getattr(scan, name) for name in ("scan_id", "subject_id", "label", "fold", "probability")}


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


class Explainer:
    """A model with a method: reads scans as the model was trained on them, and explains them on the study's grid.

    Parameters
    ----------
    function : one of the methods of voxelwhy.explain
    model : torch.nn.Module
    card : dict stored with its weights (`training.fold.train_fold`): crop, channels, normalisation
    network_mask : nibabel image, the network mask on the study's grid
    labels : int32 array (x, y, z), the atlas
    settings : dict with output and options, as in `explain_scans`
    """

    def __init__(self, function, model, card, network_mask, labels, settings):
        self.function, self.model = function, in_channels_last(model)
        seen, grid = np.asarray(network_mask.dataobj) > 0, Grid.of(network_mask)
        self.volumes = Volumes([], seen, crop=card["crop"], grid=grid, channels=card["channels"])
        self.normaliser = Normaliser.of_card(card["normalisation"])
        self.options = method_options(
            function, settings["options"], voxel_mm=grid.voxel_mm, labels=labels[self.volumes.box]
        )
        self.options |= {"apply_softmax": settings["output"] == "probability"}
        self.options |= {"device": next(model.parameters()).device}

    @classmethod
    def by(cls, method, model, card, network_mask, labels, settings):
        """Make an Explainer from the name of a method."""
        function = getattr(load(METHODS, method, "heatmap method"), method)
        return cls(function, model, card, network_mask, labels, settings)

    def read(self, path):
        """Return a scan as the model sees it, (channels, x, y, z) float32."""
        self.volumes.paths = [str(path)]
        return self.normaliser(self.volumes[0], self.volumes.mask)

    def __call__(self, volume, target):
        """Return the map of a scan that was read for class `target` (0 or 1), on the grid (x, y, z).

        The map of an ensemble is the mean of the maps of its members.
        """
        maps = [self.function(own, volume, target_class=target, **self.options) for own in members_of(self.model)]
        return self.volumes.uncrop(np.mean(maps, axis=0) if len(maps) > 1 else maps[0])


def _share_outside(heatmap, counted):
    """Return the share of a map's absolute relevance that does not count; 0 for a map that is zero everywhere."""
    total = np.abs(heatmap, dtype=np.float64).sum()
    return float(np.abs(heatmap[~counted], dtype=np.float64).sum() / total) if total > 0 else 0.0
