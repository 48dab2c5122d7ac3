"""The same explanations by others: Captum, MONAI, and the loop that anybody writes first.

Each gives an `Outcome`: what it found, and how long the whole work takes it. A slow one runs a part of its windows and
its time is scaled by their number, the pass for the whole image included.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from captum.attr import FeatureAblation, Occlusion
from torch import nn

from bench.lattice import Lattice, mean_over_windows, n_windows
from bench.timing import Outcome

TARGET = 1  # the class that is explained throughout


def probability(model, target):
    """What is explained: a function of a batch that gives the probability of one class for each image."""

    def score(batch):
        logits = model(batch).double()
        if logits.shape[1] > 1:
            return logits.softmax(dim=1)[:, target]
        return (logits[:, 0] if target == 1 else -logits[:, 0]).sigmoid()

    return score


class Probability(nn.Module):
    """The same as a module, (n, 1), for peers that want one."""

    def __init__(self, model, target):
        super().__init__()
        self.model, self.score = model, probability(model, target)

    def forward(self, batch):
        return self.score(batch)[:, None].float()


def one_by_one(model, batch, target, lattice: Lattice, numbers, value=0.0) -> Outcome:
    """The loop that anybody writes first: for each window a copy of the image, blanked there, through the network."""
    score, drops = probability(model, target), []
    started = time.perf_counter()
    with torch.inference_mode():
        whole = float(score(batch)[0])
        for box in lattice.boxes(numbers):
            blanked = batch.clone()
            blanked[(..., *box)] = value
            drops.append(whole - float(score(blanked)[0]))
    seconds = time.perf_counter() - started
    return Outcome(np.array(drops), _scaled(seconds, n_windows(numbers), n_windows(lattice.all())))


def deletion_one_by_one(model, batch, target, labels, order, steps, value=0.0) -> Outcome:
    """The probability with the first regions of `order` blanked, a pass each, for the numbers of regions in `steps`."""
    score, found = probability(model, target), []
    started = time.perf_counter()
    with torch.inference_mode():
        whole = float(score(batch)[0])
        for step in steps:
            blanked = batch.clone()
            blanked[..., torch.from_numpy(np.isin(labels, order[:step]))] = value
            found.append(whole - float(score(blanked)[0]))
    seconds = time.perf_counter() - started
    return Outcome(np.array(found), _scaled(seconds, len(steps), len(order)))


def captum_occlusion(model, batch, target, lattice: Lattice, numbers, value=0.0, at_once=1) -> Outcome:
    """Captum's Occlusion on the windows `numbers` (evenly spaced): the drop of the probability, averaged at each voxel.

    Captum's windows begin at 0 and are clipped at the far end only, so it is given the image with the border that makes
    its windows those of the original package; cutting the border off again is not counted in its time. Of a part of
    the windows it is given the block that they span: what it does in addition to running the network is less there.
    """
    block, step = lattice.block(numbers), [axis.step * lattice.stride for axis in numbers]
    padded = torch.zeros(*batch.shape[:2], *lattice.padded_shape)
    padded[(..., *lattice.inside)] = batch[0]
    score, glue = probability(model, target), [0.0]

    def forward(part):
        started = time.perf_counter()
        image = padded.repeat(len(part), 1, *[1] * (padded.ndim - 2))
        image[(..., *block)] = part
        image = image[(..., *lattice.inside)].contiguous()
        glue[0] += time.perf_counter() - started
        return score(image)

    part = padded[(..., *block)].clone()
    started = time.perf_counter()
    with torch.no_grad():
        found = Occlusion(forward).attribute(
            part,
            sliding_window_shapes=(batch.shape[1], *[lattice.size] * len(step)),
            strides=(batch.shape[1], *step),
            baselines=value,
            perturbations_per_eval=at_once,
        )
    seconds = time.perf_counter() - started - glue[0]
    whole = np.zeros(lattice.padded_shape)
    whole[block] = found[0, 0].numpy()
    return Outcome(whole[lattice.inside], _scaled(seconds, n_windows(numbers), n_windows(lattice.all())))


def captum_areas(model, batch, target, areas, names, value=0.0) -> Outcome:
    """Captum's FeatureAblation on the areas `names` of a label image: the drop of the probability, drawn in each."""
    mask = np.zeros(areas.shape, np.int64)
    for number, name in enumerate(names, start=1):
        mask[areas == name] = number
    started = time.perf_counter()
    with torch.no_grad():
        found = FeatureAblation(probability(model, target)).attribute(
            batch, feature_mask=torch.from_numpy(mask)[None, None], baselines=value
        )
    seconds = time.perf_counter() - started
    whole = len(np.unique(areas[areas > 0]))
    # What is no area (0) is a feature to Captum as well: one more pass, in the part and in the whole.
    return Outcome(np.where(mask > 0, found[0, 0].numpy(), 0), _scaled(seconds, len(names) + 1, whole + 1))


def monai_occlusion(model, batch, target, lattice: Lattice, per_axis=None, value=0.0, at_once=1) -> Outcome:
    """MONAI's OcclusionSensitivity on its own windows: the probability of the class, averaged at each voxel.

    Its windows begin at 0, stride, 2 · stride … and the last is moved inward; `per_axis` of them run along each axis,
    about the middle, or all of them. The values are the map and the box that it covers.
    """
    from monai.visualize import OcclusionSensitivity

    boxes, inner = monai_windows(lattice, per_axis)
    bounds = None if per_axis is None else [bound for axis in inner for bound in (axis.start, axis.stop)]
    method = OcclusionSensitivity(
        Probability(model, target).eval(),  # MONAI puts back the mode that it finds, in all parts
        mask_size=lattice.size,
        overlap=1 - lattice.stride / lattice.size,
        mode=float(value),
        n_batch=at_once,
        verbose=False,
        activate=False,
    )
    started = time.perf_counter()
    with torch.no_grad():
        found = method(batch, b_box=bounds)[0]
    seconds = time.perf_counter() - started
    whole = len(monai_windows(lattice, None)[0])
    return Outcome(found.numpy()[0, 0], seconds * whole / len(boxes))


def monai_windows(lattice: Lattice, per_axis):
    """Boxes of MONAI's windows, and the box within them that its map covers."""
    starts, inner = [], []
    for length in lattice.shape:
        last = length - lattice.size
        count = -(-last // lattice.stride) + 1
        if per_axis is None:
            starts.append([min(n * lattice.stride, last) for n in range(count)])
            inner.append(slice(0, length))
            continue
        first = (count - per_axis) // 2 * lattice.stride
        starts.append([first + n * lattice.stride for n in range(per_axis)])
        edge = (lattice.size - 1) // 2  # MONAI widens its bounding box by so much on each side
        inner.append(slice(first + edge, first + (per_axis - 1) * lattice.stride + lattice.size - edge))
    grid = np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(starts), -1).T
    return [tuple(slice(s, s + lattice.size) for s in start) for start in grid.tolist()], tuple(inner)


def as_monai_draws(probabilities, boxes, inner, shape) -> np.ndarray:
    """A map of `monai_occlusion` from the probability with each of its windows blanked."""
    return mean_over_windows(probabilities, boxes, shape)[inner]


def forward_backward(model, batch, target) -> np.ndarray:
    """The gradient of a logit with respect to the image: one pass forward and one backward."""
    leaf = batch.clone().requires_grad_()
    logits = model(leaf)
    score = logits[0, target] if logits.shape[1] > 1 else (logits[0, 0] if target == 1 else -logits[0, 0])
    return torch.autograd.grad(score, leaf)[0][0, 0].numpy()


def _scaled(seconds, run, whole):
    """Seconds of all windows from those of a part; the image without a window blanked is one pass more in both."""
    return seconds * (whole + 1) / (run + 1)
