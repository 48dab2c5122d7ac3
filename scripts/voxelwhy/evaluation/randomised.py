"""Randomised weights: does a heatmap depend on what the network has learnt (Adebayo 2018)?"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch
from scipy import stats
from skimage.metrics import structural_similarity
from torch import nn

from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.io.tables import read_table
from voxelwhy.io.trust_tables import RANDOMISED
from voxelwhy.networks.ensemble import members_of

MEASURES = ("spearman", "spearman_absolute", "ssim")
#: Layers whose statistics depend on the scans.
NORMS = nn.modules.batchnorm._BatchNorm


def layers_of(model):
    """Return the layers with weights in the order of their registration, each with the batch norms that follow it."""
    blocks = []
    for name, module in model.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        if isinstance(module, NORMS) and blocks:
            blocks[-1].append(name)
        else:
            blocks.append([name])
    return blocks


def randomised_models(model, batches, *, seed):
    """Yield copies of a model whose layers are reset one after the other, from the last to the first.

    Statistics of batch normalisation are estimated again on training scans after each reset: with those of the trained
    network, activations would be of another size, and the comparison void.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; an ensemble is reset member by member
    batches : list of tensors (n, channels, x, y, z), training scans as the model reads them
    seed : int

    Yields
    ------
    depth : int, number of layers that are reset, from 1
    name : str, the layer that was reset last
    model : torch.nn.Module in eval mode

    References
    ----------
    Adebayo 2018, Sanity checks for saliency maps (cascading randomization).
    """
    changed = copy.deepcopy(model)
    blocks = [layers_of(member) for member in members_of(changed)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for depth in range(1, len(blocks[0]) + 1):
            for member, own in zip(members_of(changed), blocks, strict=True):
                for name in own[-depth]:
                    reset(member.get_submodule(name))
            estimate_norms(changed, batches)
            yield depth, blocks[0][-depth][0], changed


def reset(layer):
    """Give a layer new initial weights; where it has no `reset_parameters`, its weights are permuted."""
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()
        return
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            weight.copy_(weight.flatten()[torch.randperm(weight.numel())].reshape(weight.shape))


def estimate_norms(model, batches):
    """Estimate the statistics of batch normalisation again on these scans, with everything else as in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, NORMS) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    device = next(model.parameters()).device
    with torch.no_grad():
        for batch in batches:
            model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def similarity(first, second, counted):
    """Compare two maps inside the counted voxels.

    Returns
    -------
    dict : Spearman's correlation of the values and of the absolute values (0 if a map is constant), and SSIM of the
    maps scaled to their largest absolute value
    """
    one, other = (np.asarray(own, dtype=float)[counted] for own in (first, second))
    found = {"spearman": _spearman(one, other), "spearman_absolute": _spearman(np.abs(one), np.abs(other))}
    whole = [np.where(counted, own, 0.0) for own in (first, second)]
    scaled = [own / (np.abs(own).max() or 1.0) for own in whole]
    _, local = structural_similarity(*scaled, win_size=_window(counted.shape), data_range=2.0, full=True)
    return found | {"ssim": float(local[counted].mean())}


def _window(shape):
    """The usual window of 7 voxels, or the largest odd one that fits."""
    return min(7, min(shape) - 1 + min(shape) % 2)


def _spearman(one, other):
    return float(unit_ranks(one) @ unit_ranks(other))


def unit_ranks(values):
    """Return the ranks of a map, centred and of length 1, so that a product of two is Spearman's correlation.

    Values that differ in their last bits are ties. A constant map gives zeros, and so a correlation of 0.
    """
    ranks = stats.rankdata(np.round(values / (np.abs(values).max() or 1.0), 9))
    ranks -= ranks.mean()
    return ranks / (np.linalg.norm(ranks) or 1.0)


def join_randomised(paths):
    """Read the probes of all folds and summarise them (`summarise_randomised`)."""
    return summarise_randomised(pd.concat([read_table(path, RANDOMISED) for path in paths], ignore_index=True))


def summarise_randomised(rows):
    """Average the similarity over subjects, by method, depth and measure, with Student's 95 % interval.

    Parameters
    ----------
    rows : DataFrame by trust_tables.RANDOMISED; depth 0 is the map of another subject of the same class by the same
        network, the floor that a map reaches without the weights

    Returns
    -------
    DataFrame by trust_tables.RANDOMISED_SUMMARY
    """
    keys = ["method", "depth", "layer"]
    rows = rows.assign(layer=rows["layer"].fillna(""))
    by_subject = rows.groupby([*keys, "subject_id"], as_index=False, sort=False)[list(MEASURES)].mean()
    summary = []
    for (method, depth, layer), own in by_subject.groupby(keys, sort=False):
        for measure in MEASURES:
            values = own[measure].to_numpy()
            low, high = student_interval(values)
            row = {"method": method, "depth": depth, "layer": layer, "measure": measure, "value": values.mean()}
            summary.append(row | {"low": low, "high": high, "n_subjects": len(values)})
    return pd.DataFrame(summary)
