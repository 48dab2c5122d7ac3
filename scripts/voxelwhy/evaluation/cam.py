"""Why Grad-CAM misses a planted disease: the size of its cells, and what averaging the gradient over them loses."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from statsmodels.stats.weightstats import DescrStatsW

from voxelwhy.evaluation.truth import average_precision
from voxelwhy.explain._shared.placement import draw_at_centres
from voxelwhy.explain.grad_cam import grad_cam, grad_cam_cells
from voxelwhy.heatmaps.explain_scans import Explainer, choose_subjects
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.networks.ensemble import members_of
from voxelwhy.networks.weights import load_model


def examine_grad_cam(
    models, scans, t1_paths, labels, counted, network_mask, planted, settings, *, positive, threshold, seed=0
):
    """Explain the patients by Grad-CAM with each cell weighted by its own gradient, and draw the truth on its cells.

    Parameters
    ----------
    models : dict, fold to path of its model
    scans : DataFrame by tables.PREDICTIONS
    t1_paths : dict, scan_id to path of the registered scan
    labels : int array (x, y, z), the atlas; counted : bool array, the voxels whose relevance counts
    network_mask : nibabel image
    planted : evaluation.truth.PlantedRegions
    settings : dict with output, options (those of grad_cam in the config), network, most_subjects and scans (as the
        study explains them)
    positive : str, the class that is explained
    threshold : float, of the truth
    seed : int, the study's

    Returns
    -------
    facts : dict; cells and step_mm of the layer; kept, kept_low and kept_high, mean and 95 % interval over subjects of
        the share of the gradient that its mean over the cells keeps (`explain.grad_cam.Cells`); ceiling_auprc, the
        AUPRC over regions of the planted loss itself, averaged within the cells and drawn as Grad-CAM draws them;
        cellwise_auprc, that of the maps with each cell weighted by its own gradient; n_subjects, n_scans
    maps : dict with the mean map (scaled) of the cell-by-cell weights and the planted loss on the cells, (x, y, z)
    """
    options = {**(settings["options"] or {}), "cellwise": True}
    how = {"output": settings["output"], "options": options}
    chosen = choose_subjects(scans, settings["most_subjects"], kept=settings["scans"], seed=seed)
    scans = chosen[chosen["label"] == positive]
    by_subject, drawn = {}, []
    for fold, tested in scans.groupby("fold", sort=True):
        model, card = load_model(models[fold], own=settings["network"])
        explain = Explainer(grad_cam, model, card, network_mask, labels, how)
        for scan in tested.itertuples():
            volume = explain.read(t1_paths[scan.scan_id])
            heatmap = np.where(counted, explain(volume, 1), 0)
            seen = [
                grad_cam_cells(member, volume, 1, options.get("last_conv_layer"), settings["output"] == "probability")
                for member in members_of(model)
            ]
            regions = relevance_by_region(heatmap, labels, planted.regions, counted)["enrichment"].to_numpy()
            scaled = heatmap / max(float(np.abs(heatmap).sum()), 1e-30)
            kept = float(np.mean([one.kept for one in seen]))
            by_subject.setdefault(scan.subject_id, []).append((kept, regions, scaled))
        # Folds share the grid, and so the cells.
        drawn = drawn or [seen[0].centres, explain.volumes]
    means = [tuple(np.nanmean(part, axis=0) for part in zip(*own, strict=True)) for own in by_subject.values()]
    kept, regions, maps = (np.array(part) for part in zip(*means, strict=True))
    centres, volumes = drawn
    step = [float(places[1] - places[0]) if len(places) > 1 else np.nan for places in centres]
    ceiling = np.where(counted, loss_on_cells(planted.log_jacobian, centres, step, volumes), 0)
    lost = planted.loss > threshold
    facts = {
        "cells": [len(places) for places in centres],
        "step_mm": [float(s) for s in np.multiply(step, np.linalg.norm(network_mask.affine[:3, :3], axis=0))],
        "ceiling_auprc": _auprc(ceiling, labels, planted, counted, lost),
        "cellwise_auprc": float(average_precision(np.nan_to_num(np.nanmean(regions, axis=0)), lost[None])[0]),
        "n_subjects": len(kept),
        "n_scans": len(scans),
    } | mean_with_interval(kept, "kept")
    return facts, {"cellwise": maps.mean(axis=0), "ceiling": ceiling}


def loss_on_cells(log_jacobian, centres, step, volumes):
    """The planted loss averaged within each cell, drawn on the grid as Grad-CAM draws the values of its cells.

    Parameters
    ----------
    log_jacobian : array (x, y, z)
    centres, step : for each axis, the centres of the cells and the distance between them, in voxels of the network's
        input
    volumes : training.volumes.Volumes, which defines that input
    """
    loss = np.maximum(-log_jacobian, 0)[volumes.box]
    # With a box of one cell around each voxel, the value at a centre is the mean within that cell.
    lengths = zip(step, loss.shape, strict=True)
    sizes = [max(1, round(s)) if np.isfinite(s) else n for s, n in lengths]  # a single cell spans the whole axis
    mean = ndimage.uniform_filter(loss, sizes, mode="constant")
    nearest = [np.clip(np.rint(places).astype(int), 0, n - 1) for places, n in zip(centres, loss.shape, strict=True)]
    return volumes.uncrop(draw_at_centres(mean[np.ix_(*nearest)], centres, loss.shape))


def mean_with_interval(values, name):
    """Mean over subjects with Student's 95 % interval, as {name, name_low, name_high}; NaN limits for one subject."""
    found = DescrStatsW(np.asarray(values, dtype=float))
    low, high = found.tconfint_mean() if len(values) > 1 else (np.nan, np.nan)
    return {name: float(found.mean), f"{name}_low": float(low), f"{name}_high": float(high)}


def _auprc(heatmap, labels, planted, counted, lost):
    enrichment = relevance_by_region(heatmap, labels, planted.regions, counted)["enrichment"].to_numpy()
    return float(average_precision(np.nan_to_num(enrichment), lost[None])[0])
