"""Probes of shortcuts: a network on what is not brain, what its features tell of people, relevance outside the brain.

Scans are changed before they are normalised, and then normalised as the network learnt it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from voxelwhy.evaluation.faithfulness import score_images
from voxelwhy.evaluation.follows import AUC, LEAST_SUBJECTS, SPEARMAN, higher_value, measure_of, title_with
from voxelwhy.evaluation.people import PROPERTIES
from voxelwhy.evaluation.randomised import layers_of
from voxelwhy.networks.ensemble import members_of
from voxelwhy.training.region_baseline import region_means

#: A voxel has signal above this share of the scan's 99th percentile; interpolation leaves tiny values elsewhere.
SIGNAL = 0.02
#: Voxels farther than this from the template's brain are background: skull-stripped brains may reach beyond it, mm.
MARGIN_MM = 10.0
#: With signal in fewer of these voxels, scans have no background.
LEAST_BACKGROUND = 0.05
#: Reasons for which there is no background to read.
UNSEEN, EMPTY = "the network sees nothing outside the brain", "the scans have no background"
#: Penalties among which ridge regression chooses.
PENALTIES = tuple(np.logspace(-1, 6, 15))
BATCH = 8
NETWORK, REGIONS = "network", "regions"


def signal_of(volume, mask):
    """Return where a scan has signal, with holes filled, inside the mask.

    Parameters
    ----------
    volume : array (channels, x, y, z), before normalisation; the first channel decides
    mask : bool array (x, y, z), the voxels that the network sees

    Returns
    -------
    bool array (x, y, z)
    """
    values = np.abs(volume[0])
    inside = values[mask]
    least = SIGNAL * np.percentile(inside[inside > 0], 99) if (inside > 0).any() else np.inf
    # Dark fluid inside the brain is no part of its silhouette.
    return ndimage.binary_fill_holes((values > least) & mask) & mask


class Typical:
    """The mean of training scans at each voxel, over those that have signal there.

    Parameters
    ----------
    volumes : iterable of arrays (channels, x, y, z), before normalisation
    mask : bool array (x, y, z)

    Attributes
    ----------
    values : float32 array (channels, x, y, z); the mean of all voxels where no training scan has signal
    signal : float array (x, y, z), share of the training scans with signal
    """

    def __init__(self, volumes, mask):
        total, counts, n = 0.0, np.zeros(mask.shape), 0
        for volume in volumes:
            own = signal_of(volume, mask)
            total, counts, n = total + volume.astype(np.float64) * own, counts + own, n + 1
        whole = total.sum(axis=(1, 2, 3), keepdims=True) / max(counts.sum(), 1)
        known = counts > 0
        self.values = np.where(known, total / np.where(known, counts, 1), whole).astype(np.float32)
        self.signal = counts / n

    def silhouette(self, volume, mask):
        """Return the silhouette of a scan alone: typical values where it has signal, and 0 elsewhere."""
        return np.where(signal_of(volume, mask), self.values, np.float32(0))

    def background(self, volume, brain):
        """Return a scan with typical values inside the brain mask, so that only its background is its own."""
        return np.where(brain, self.values, volume).astype(np.float32)


def missing_background(brain, seen, signal, voxel_mm):
    """Say why scans have no background to read; "" if they have.

    Parameters
    ----------
    brain, seen : bool arrays (x, y, z): the template's brain, and the voxels that the network sees
    signal : array (x, y, z), share of scans with signal
    voxel_mm : sequence of 3 float
    """
    far = seen & (ndimage.distance_transform_edt(~brain, sampling=voxel_mm) > MARGIN_MM)
    if not far.any():
        return UNSEEN
    return "" if signal[far].mean() >= LEAST_BACKGROUND else EMPTY


def features_of(model, images):
    """Return what the last layer with weights reads of each image, (images, features); members of an ensemble in a row.

    Where that layer has spatial axes, their mean is taken.
    """
    found = []

    def keep(layer, inputs):
        values = inputs[0].detach().float().cpu()
        found[-1].append(values.flatten(2).mean(dim=2) if values.ndim > 2 else values)

    for member in members_of(model):
        found.append([])
        last, device = member.get_submodule(layers_of(member)[-1][0]), next(member.parameters()).device
        handle = last.register_forward_pre_hook(keep)
        try:
            with torch.inference_mode():
                for start in range(0, len(images), BATCH):
                    member(torch.from_numpy(np.stack(images[start : start + BATCH])).to(device))
        finally:
            handle.remove()
    return torch.cat([torch.cat(own) for own in found], dim=1).numpy().astype(np.float64)


def decode(features, values, measure, learnt, tested):
    """Predict a property from features, fitted on some rows, for others.

    Parameters
    ----------
    features : array (rows, features)
    values : array (rows,); for the measure AUC 0 or 1
    measure : SPEARMAN (ridge regression, whose penalty is chosen by cross-validation within `learnt`) or AUC (logistic
        regression with an L2 penalty, C = 1)
    learnt, tested : bool arrays (rows,)

    Returns
    -------
    array (tested rows,), or None if there are too few rows or values to learn from
    """
    known = values[learnt]
    if len(known) < LEAST_SUBJECTS or not tested.any() or min(len(np.unique(known)), 2) < 2:
        return None
    model = RidgeCV(alphas=PENALTIES) if measure == SPEARMAN else LogisticRegression(max_iter=5000)
    fitted = make_pipeline(StandardScaler(), model).fit(features[learnt], known)
    return (fitted.predict if measure == SPEARMAN else fitted.decision_function)(features[tested])


def decoded_properties(properties):
    """Properties that are decoded, by column: {column: (title, measure, values as numbers)}.

    Parameters
    ----------
    properties : DataFrame indexed by scan_id; numbers and categories of two values are decoded, others are not
    """
    found = {}
    for name in properties.columns:
        values, title = properties[name], name.replace("_", " ")
        if values.dropna().nunique() < 2:
            continue
        if measure_of(values) == AUC:
            higher = higher_value(values)
            numbers = (values == higher).astype(float).where(values.notna())
            found[name] = (PROPERTIES.get(name) or title_with(title, higher), AUC, numbers)
        elif measure_of(values) == SPEARMAN:
            found[name] = (title, SPEARMAN, values.astype(float))
    return found


def probe_silhouettes(reader, model, folds, t1_paths, brain, sample, voxel_mm):
    """Score the fold's test scans by their silhouettes alone, and by their background alone if they have one.

    Parameters
    ----------
    reader : heatmaps.explain_scans.Explainer of the model
    model : torch.nn.Module
    folds : DataFrame by tables.FOLDS, of the fold
    t1_paths : dict, scan_id to path of the registered scan
    brain : bool array (x, y, z), the template's brain in the box of the reader
    sample : scan_ids of training scans, whose mean replaces what is removed
    voxel_mm : sequence of 3 float

    Returns
    -------
    rows : list of dict by trust_tables.SHORTCUT_PROBES
    reason : str, why there is no background; "" if there is one
    """
    mask = reader.volumes.mask
    typical = Typical((read_raw(reader, t1_paths[scan]) for scan in sample), mask)
    reason = missing_background(brain, mask, typical.signal, voxel_mm)
    tested, rows = folds[folds["side"] == "test"].sort_values("scan_id"), []
    for start in range(0, len(tested), BATCH):
        batch = tested.iloc[start : start + BATCH]
        scans = [read_raw(reader, t1_paths[scan]) for scan in batch["scan_id"]]
        changed = {"silhouette": [typical.silhouette(own, mask) for own in scans]}
        if not reason:
            changed["background"] = [typical.background(own, brain) for own in scans]
        for probe, images in changed.items():
            scores = score_images(model, [reader.normaliser(own, mask) for own in images])
            rows += [_row(scan, probe, value=float(s)) for scan, s in zip(batch.itertuples(), scores, strict=True)]
        if reason:
            rows += [_row(scan, "background", of=reason) for scan in batch.itertuples()]
    return rows, reason


def read_raw(reader, path):
    """Read a scan inside the network's mask, before normalisation, (channels, x, y, z)."""
    reader.volumes.paths = [str(path)]
    return reader.volumes[0]


def _row(scan, probe, *, of=None, source=None, value=np.nan, truth=np.nan):
    facts = {name: getattr(scan, name) for name in ("fold", "scan_id", "subject_id", "label")}
    return facts | {"probe": probe, "of": of, "source": source, "value": value, "truth": truth}


def probe_features(reader, model, controls, t1_paths, labels, region_ids, properties):
    """Predict properties of the fold's test controls from features of the network, and from region means.

    Parameters
    ----------
    reader, model, t1_paths : as in `probe_silhouettes`
    controls : DataFrame by tables.FOLDS, controls of the fold; those of the side train are learnt from
    labels : int array (x, y, z), the atlas in the box of the reader
    region_ids : sequence of int
    properties : DataFrame indexed by scan_id

    Returns
    -------
    list of dict by trust_tables.SHORTCUT_PROBES
    """
    controls = controls[controls["side"].isin(["train", "test"])].sort_values("scan_id", ignore_index=True)
    wanted = decoded_properties(properties)
    if not wanted or not len(controls):
        return []
    paths = [t1_paths[scan] for scan in controls["scan_id"]]
    parts = [[reader.read(path) for path in paths[k : k + BATCH]] for k in range(0, len(paths), BATCH)]
    reader.volumes.paths = [str(path) for path in paths]
    sources = {
        NETWORK: np.concatenate([features_of(model, part) for part in parts]),
        REGIONS: region_means(reader.volumes, labels, list(region_ids)),
    }
    rows = []
    for title, measure, values in wanted.values():
        known = values.reindex(controls["scan_id"]).to_numpy(float)
        learnt, tested = ((controls["side"] == side) & np.isfinite(known) for side in ("train", "test"))
        for source, features in sources.items():
            predicted = decode(features, known, measure, learnt.to_numpy(), tested.to_numpy())
            if predicted is not None:
                scans = controls[tested].itertuples()
                rows += [
                    _row(scan, f"decoded {measure}", of=title, source=source, value=float(value), truth=float(truth))
                    for scan, value, truth in zip(scans, predicted, known[tested], strict=True)
                ]
    return rows


def outside_rows(maps, chosen, brain):
    """The share of absolute relevance outside the brain, for each scan and method.

    Parameters
    ----------
    maps : {(method, scan_id): array (x, y, z)}, on the study's grid
    chosen : DataFrame with the facts of the scans
    brain : bool array (x, y, z)
    """
    rows = []
    for scan in chosen.itertuples():
        for (method, name), heatmap in maps.items():
            if name == scan.scan_id:
                size = np.abs(heatmap, dtype=np.float64)
                share = float(size[~brain].sum() / size.sum()) if size.sum() > 0 else 0.0
                rows.append(_row(scan, "outside", of=method, value=share))
    return rows
