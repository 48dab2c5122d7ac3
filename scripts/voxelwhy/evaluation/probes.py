"""Probes of one fold: blank what its maps mark, reset the weights that they explain, and look for shortcuts."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import torch

from voxelwhy.evaluation.faithfulness import blank_regions, blurred, orders_of, scan_rows
from voxelwhy.evaluation.randomised import layers_of, randomised_models, similarity
from voxelwhy.evaluation.shortcut_probes import outside_rows, probe_features, probe_silhouettes
from voxelwhy.heatmaps.explain_scans import Explainer, choose_subjects
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.images import Grid
from voxelwhy.io.trust_tables import FAITHFULNESS, RANDOMISED, SHORTCUT_PROBES
from voxelwhy.networks.ensemble import members_of
from voxelwhy.networks.weights import load_model
from voxelwhy.training.volumes import counted_voxels

log = logging.getLogger(__name__)

#: Training scans from which statistics of batch normalisation are estimated again, at most, and scans in a batch.
NORM_SCANS, NORM_BATCH = 64, 8
#: Depths at which maps of reset networks are computed, at most: a network may have a hundred layers.
MOST_DEPTHS = 8


def probe_fold(model_path, tested, folds, t1_paths, atlas, network_mask, settings, *, classes, seed, properties=None,
               device="auto"):  # fmt: skip
    """Probe one fold: the maps of some test scans by every method, which explain the positive class, and its network.

    Parameters
    ----------
    model_path : path of the fold's model
    tested : DataFrame by tables.PREDICTIONS, of the fold
    folds : DataFrame by tables.FOLDS, of the fold
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    network_mask : nibabel image
    settings : dict; methods with their options, output, subjects (of each class), network (of your own, or None)
    classes : {"positive": name, "negative": name}
    seed : int
    properties : DataFrame indexed by scan_id, optional: what may be read from the network's features

    Returns
    -------
    DataFrames by trust_tables.FAITHFULNESS, RANDOMISED and SHORTCUT_PROBES
    """
    probe = _Probe(model_path, atlas, network_mask, settings, device)
    chosen = choose_subjects(tested, settings["subjects"], seed=seed).drop_duplicates(["subject_id", "label"])
    volumes = {scan: probe.read(t1_paths[scan]) for scan in chosen["scan_id"]}
    trained = probe.maps_of(probe.model, volumes)
    learnt = folds[folds["side"] == "train"]
    controls = learnt.loc[learnt["label"] == classes["negative"], "scan_id"]
    fill = np.mean([probe.read(t1_paths[scan]) for scan in controls], axis=0, dtype=np.float64).astype(np.float32)
    faithful = []
    for number, scan in enumerate(chosen.itertuples()):
        enrichment = {method: probe.enrichment(trained[method, scan.scan_id]) for method in settings["methods"]}
        orders = orders_of(enrichment, np.random.default_rng([seed, number]))
        volume = volumes[scan.scan_id]
        fills = {"mean": fill, "blur": blurred(volume, probe.mask, probe.voxel_mm)}
        table = blank_regions(probe.model, volume, fills, probe.regions, orders)
        faithful.append(scan_rows(table, _facts(scan)))
        log.info("regions of scan %d of %d blanked", number + 1, len(chosen))
    sample = learnt["scan_id"].drop_duplicates().sample(frac=1, random_state=seed).head(NORM_SCANS)
    scans = [probe.read(t1_paths[scan]) for scan in sample]
    randomised = _randomise(probe, chosen, volumes, trained, scans, seed)
    faithful = pd.concat(faithful, ignore_index=True)[list(FAITHFULNESS.columns)]
    shortcuts = _shortcuts(probe, chosen, trained, folds, t1_paths, sample, classes, properties)
    return faithful, randomised[list(RANDOMISED.columns)], shortcuts


class _Probe:
    """A fold's model, how it reads scans, and the regions of the atlas as it sees them."""

    def __init__(self, model_path, atlas, network_mask, settings, device):
        label_image, table, brain = atlas
        self.model, self.card = load_model(model_path, device=device, own=settings["network"])
        self.labels = np.asarray(label_image.dataobj).astype(np.int32)
        self.network_mask, self.counted = network_mask, counted_voxels(brain, network_mask)
        self.settings = settings
        reader = self.explainer(*next(iter(settings["methods"].items())), self.model)
        self.reader, self.read, box, self.mask = reader, reader.read, reader.volumes.box, reader.volumes.mask
        self.brain = np.asarray(brain.dataobj) > 0
        self.voxel_mm = Grid.of(network_mask).voxel_mm
        self.inside = inside = np.where(self.counted, self.labels, 0)[box]
        # Regions that the network sees, in the order of the atlas.
        self.table = table[[bool((inside == number).any()) for number in table["region_id"]]]
        self.regions = [inside == number for number in self.table["region_id"]]

    def explainer(self, method, options, model):
        asked = {"options": options or {}, "output": self.settings["output"]}
        return Explainer.by(method, model, self.card, self.network_mask, self.labels, asked)

    def maps_of(self, model, volumes):
        """The map of each scan by each method, {(method, scan_id): array (x, y, z)}."""
        explain = {m: self.explainer(m, options, model) for m, options in self.settings["methods"].items()}
        return {(m, scan): own(volume, 1) for m, own in explain.items() for scan, volume in volumes.items()}

    def enrichment(self, heatmap):
        """Enrichment of the regions in a map, in the order of `regions`."""
        return relevance_by_region(heatmap, self.labels, self.table, self.counted)["enrichment"].to_numpy()


def _shortcuts(probe, chosen, trained, folds, t1_paths, sample, classes, properties):
    """What the network makes of images without a brain, and of people; see `shortcut_probes`."""
    brain = probe.brain[probe.reader.volumes.box]
    how = (folds, t1_paths, brain, sample, probe.voxel_mm)
    rows, reason = probe_silhouettes(probe.reader, probe.model, *how)
    if not reason:
        rows += outside_rows(trained, chosen, probe.brain)
    if properties is not None:
        controls, regions = folds[folds["label"] == classes["negative"]], probe.table["region_id"]
        rows += probe_features(probe.reader, probe.model, controls, t1_paths, probe.inside, regions, properties)
    return pd.DataFrame(rows)[list(SHORTCUT_PROBES.columns)]


def _facts(scan):
    return {name: getattr(scan, name) for name in ("fold", "scan_id", "subject_id", "label")}


def _randomise(probe, chosen, volumes, trained, learnt, seed):
    """Similarity of each scan's maps to those of another subject, and to those of the network with layers reset."""
    rows = []

    def compare(found, depth, layer):
        for scan in chosen.itertuples():
            for method in probe.settings["methods"]:
                alike = similarity(trained[method, scan.scan_id], found[method, scan.scan_id], probe.counted)
                rows.append(_facts(scan) | {"method": method, "depth": depth, "layer": layer} | alike)

    others = {}
    for _, own in chosen.groupby("label"):
        names = own["scan_id"].tolist()
        others |= dict(zip(names, [*names[1:], names[0]], strict=True))
    compare({(m, scan): trained[m, others[scan]] for m, scan in trained}, 0, None)
    batches = [torch.from_numpy(np.stack(learnt[k : k + NORM_BATCH])) for k in range(0, len(learnt), NORM_BATCH)]
    depths = _depths(probe.model)
    for depth, layer, model in randomised_models(probe.model, batches, seed=seed):
        if depth in depths:
            compare(probe.maps_of(model, volumes), depth, layer)
            log.info("maps of the network with %d layers reset, down to %s", depth, layer)
    return pd.DataFrame(rows)


def _depths(model):
    n = len(layers_of(members_of(model)[0]))
    return set(np.unique(np.linspace(1, n, min(n, MOST_DEPTHS)).round().astype(int)).tolist())
