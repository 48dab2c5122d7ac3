"""What is explained in the bench: a brain, networks with random weights that are unsure of it, an atlas."""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from voxelwhy.config.recipes import POOLED_MM
from voxelwhy.io.images import Grid
from voxelwhy.networks.build import build_network
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas
from voxelwhy.registration.template import make_template

RESOLUTION_MM = 1  # 193 x 229 x 193 voxels, the grid of the paper
NORMALISATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)
#: The gap between two logits of the whole image, and the most that blanking a probe changes it: far from a sure answer,
#: where every map would be close to zero.
GAP, MOST_CHANGE = 0.3, 1.5


@lru_cache
def template(resolution=RESOLUTION_MM):
    """The ICBM152 template and its brain mask as nibabel images."""
    return make_template(resolution)


@lru_cache
def brain(resolution=RESOLUTION_MM) -> torch.Tensor:
    """One image as a network sees it, (1, 1, x, y, z): z-scored inside the brain, 0 outside."""
    t1, mask = template(resolution)
    inside, values = np.asarray(mask.dataobj) > 0, np.asarray(t1.dataobj)
    scored = np.where(inside, (values - values[inside].mean()) / values[inside].std(), 0)
    return torch.from_numpy(scored.astype(np.float32))[None, None]


@lru_cache
def areas(resolution=RESOLUTION_MM) -> np.ndarray:
    """The 116 regions of AAL as a label image on the grid of `brain`, inside the brain."""
    _, mask = template(resolution)
    labels, _ = atlas_on_grid(load_atlas({"name": "AAL"}), Grid.of(mask), mask=np.asarray(mask.dataobj) > 0)
    return labels


@lru_cache
def network(name, resolution=RESOLUTION_MM) -> nn.Module:
    """A network by name, on the grid of `brain`: one of the package, or MONAI's 3D resnet18 (stem of stride 2).

    `compact` averages to cells of 6 to 8 mm first, as in a study.
    """
    torch.manual_seed(2018)
    if name == "resnet18":
        from monai.networks.nets import resnet18

        model = resnet18(spatial_dims=3, n_input_channels=1, num_classes=2, conv1_t_stride=2)
    else:
        own = {"first_pool": max(1, round(POOLED_MM / resolution))} if name == "compact" else {}
        model = build_network(name, tuple(brain(resolution).shape[2:]), **own)
    return unsure(model, brain(resolution))


def unsure(model, batch, several=None) -> nn.Module:
    """Random weights under which each layer varies and the answer is unsure: the model, in eval mode.

    Convolutions and dense layers are drawn by He et al. 2015, normalisations hold the mean and variance of this image,
    and the last dense layer is scaled so that blanking a block changes the logits by about one.

    Parameters
    ----------
    several : images for the statistics of the normalisations; `batch` if None
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.inference_mode():
        _settle_normalisations(model, batch if several is None else several)
        gaps = _gaps(torch.cat([model(probe) for probe in _probes(batch)]))
        scale = float(MOST_CHANGE / (gaps[1:] - gaps[0]).abs().max())
        last.weight.mul_(scale)
        last.bias.mul_(scale)
        last.bias[-1] += GAP - scale * float(gaps[0])
    return model


def _settle_normalisations(model, batch):
    """Give every normalisation the statistics of the image, each as the layers before it hand it on."""
    model.eval()
    for layer in model.modules():
        if isinstance(layer, NORMALISATIONS):
            layer.momentum = 1.0
            layer.train()
    model(batch)
    model.eval()


def _gaps(logits):
    """By how much the last class leads the first; of one logit, the logit."""
    return logits[:, -1] - logits[:, 0] if logits.shape[1] > 1 else logits[:, 0]


def _probes(batch):
    """The image, and each eighth (3D; quarter in 2D) of it blanked."""
    yield batch
    halves = [(slice(0, length // 2), slice(length // 2, length)) for length in batch.shape[2:]]
    for corner in np.ndindex(*[2] * len(halves)):
        blanked = batch.clone()
        blanked[(..., *(axis[side] for axis, side in zip(halves, corner, strict=True)))] = 0
        yield blanked


def copies(model) -> nn.Module:
    """A copy for a peer that leaves hooks behind or swaps layers."""
    return copy.deepcopy(model)
