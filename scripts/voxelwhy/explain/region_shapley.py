"""Shapley values of atlas regions: what each adds to the score, averaged over all orders of blanking them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.explain._shared.areas import areas_of, part_of, require_apart, require_one_space
from voxelwhy.explain._shared.blanking import MAX_BYTES
from voxelwhy.explain._shared.prepare import check_count, each_result
from voxelwhy.explain._shared.states import scores_of_states

#: Regions up to which all sets of them are run, 4,096 at most; and the permutations drawn for more regions.
MOST_EXACT, N_PERMUTATIONS = 12, 20


@dataclass(frozen=True)
class RegionShapley:
    """Shapley values of regions, in the order of `regions`; see `region_shapley`. Of a batch, arrays begin with (n,).

    Attributes
    ----------
    regions : list of labels (or numbers of masks), and names of merged regions
    values : float64 (regions,), in units of the score; positive where the region supports the class
    standard_errors : float64 (regions,), of the sampling; 0 if exact
    score, blank_score : float64, of the image, and with all regions blanked (the mean over permutations)
    n_permutations : how many were drawn; 0 if the values are exact
    labels : int array (*spatial), 0 outside the regions, k inside the k-th (from 1)
    """

    regions: list
    values: np.ndarray
    standard_errors: np.ndarray
    score: np.ndarray
    blank_score: np.ndarray
    n_permutations: int
    labels: np.ndarray

    @property
    def standard_error(self) -> float:
        """The largest standard error of a region."""
        return float(self.standard_errors.max())

    @property
    def heatmap(self) -> np.ndarray:
        """The values drawn inside their regions, 0 outside: (*spatial), or (n, *spatial)."""
        padded = np.concatenate([np.zeros_like(self.values[..., :1]), self.values], axis=-1)
        return padded[..., self.labels]


def region_shapley(
    model,
    image,
    area_masks,
    target_class=None,
    occlusion_value=0.0,
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    merge=None,
    n_permutations=None,
    seed=0,
    engine="auto",
    max_bytes=MAX_BYTES,
    batch_size=None,
    device="auto",
):
    """Relevance of each atlas region: its Shapley value, where the players are regions and the others are blanked.

    Regions are blanked one after the other, and each order gives each region the drop of the score at its turn. The
    Shapley value is the mean over all orders. The values add up to the score of the image minus the score with all
    regions blanked, and regions that carry the same evidence share it. Up to 12 regions, the values are exact, from all
    sets of regions. For more, permutations are drawn in antithetic pairs, an order and its reverse; the standard error
    is that of the mean over pairs. It describes the sampling, not differences between subjects or trainings.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    area_masks : a label image (*spatial) of whole numbers, where 0 is background; or binary masks (*spatial), as a list
        or as one array (n, *spatial), which do not overlap. Each may be a nibabel image. Voxels outside all regions
        are never blanked.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    occlusion_value : the value of blanked voxels, on the intensity scale that the network sees.
    merge : dict of a name to several labels (or numbers of masks, counted from 0): these are one region of that name.
        Other labels remain regions of their own.
    n_permutations : an even number of at least 4; None draws 20 for more than 12 regions, and is exact otherwise.
    seed : of the permutations, a whole number of at least 0. The same seed draws the same ones for each image.
    engine : "incremental" recomputes only what each change reaches, which is exact and many times faster; "plain" runs
        the whole network each time; "auto" uses "incremental" where it saves work and torch.export can follow the
        network.
    max_bytes : approximate extra memory of the incremental engine, in bytes.
    batch_size : images per batch of the plain engine; None chooses a suitable number.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    RegionShapley : with `regions`, `values` and `standard_errors` (regions,), or (n, regions) for a batch; `score` and
        `blank_score`, whose difference is the sum of the values; `standard_error`, the largest one; `n_permutations`;
        `heatmap`, the values drawn in their regions, (*spatial) or (n, *spatial).

    Raises
    ------
    ShapeError : the masks and `image` differ in spatial shape or, of nibabel images, in their affine (nothing is
        resampled here).
    InputError : labels are negative or not whole numbers, masks are not binary or overlap, or there is no region.
    ConfigError : `merge` names a label that does not exist or one twice, `n_permutations` is odd or below 4, or
        `occlusion_value` is not finite.
    ModelError : the model is in training mode, or the class does not exist.

    References
    ----------
    Castro, Gómez & Tejada 2009, Polynomial calculation of the Shapley value based on sampling. Mitchell, Cooper, Frank
    & Holmes 2022, Sampling permutations for Shapley value estimation (antithetic pairs). Lundberg & Lee 2017, A unified
    approach to interpreting model predictions (a single baseline replaces what is absent).

    Examples
    --------
    A network that returns 1 if the left or the right half is bright. With both bright, blanking one changes nothing:

    >>> import numpy as np
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import area_occlusion, region_shapley
    >>> class Either(nn.Module):
    ...     def forward(self, images):
    ...         return 1 - torch.relu(1 - images.flatten(1).sum(dim=1))
    >>> scan, halves = torch.tensor([[[1.0, 1.0]]]), np.array([[1, 2]])
    >>> explained = {"target_class": 1, "apply_softmax": False}
    >>> area_occlusion(Either().eval(), scan, halves, **explained).tolist()
    [[0.0, 0.0]]
    >>> found = region_shapley(Either().eval(), scan, halves, **explained)
    >>> found.regions, found.values.tolist(), found.standard_error
    ([1, 2], [0.5, 0.5], 0.0)
    """
    require_one_space(area_masks, image)
    if n_permutations is not None:
        check_count("n_permutations", n_permutations, least=4)
        if n_permutations % 2:
            raise ConfigError("permutations are drawn in pairs", found=n_permutations, allowed="an even number")
    check_count("seed", seed, least=0)

    def explain(batch, target):
        shape = tuple(batch.shape[2:])
        parts = _merged(areas_of(area_masks, shape), merge, shape)
        count = len(parts)
        exact = n_permutations is None and count <= MOST_EXACT
        states = every_set(count) if exact else permuted(count, n_permutations or N_PERMUTATIONS, seed)
        scores = scores_of_states(
            model,
            batch,
            list(parts.values()),
            states,
            value=occlusion_value,
            target_class=target,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
            engine=engine,
            max_bytes=max_bytes,
        )
        found = exact_values(scores, states) if exact else sampled_values(scores, states)
        return *found, list(parts), _drawn(parts, shape)

    found, is_batch = each_result(
        explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose
    )
    drawn, names, labels = found[0][4:]
    arrays = zip(*(one[:4] for one in found), strict=True)
    return RegionShapley(names, *(np.stack(one) if is_batch else one[0] for one in arrays), drawn, labels)


def every_set(count) -> np.ndarray:
    """All sets of `count` regions but the empty one, bool (2^count - 1, count); each differs from the last by one."""
    numbers = np.arange(1, 2**count)
    return _bits(numbers ^ (numbers >> 1), count)  # the Gray code


def permuted(count, n_permutations, seed) -> np.ndarray:
    """The sets along antithetic pairs of permutations, bool (n_permutations * count, count).

    Of each pair, regions are blanked in the order of a permutation until all are, and then restored in the same order.
    Read backwards, the second half blanks them in the reverse order.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(n_permutations // 2):
        places = np.argsort(rng.permutation(count))  # the turn of each region
        there = places <= np.arange(count)[:, None]
        pairs += [there, ~there]
    return np.concatenate(pairs)


def exact_values(scores, states):
    """Shapley values from the scores of the image and of all sets of blanked regions.

    Returns
    -------
    values, standard errors (regions,), score of the image, score with all blanked, 0 (permutations)
    """
    count = states.shape[1]
    blanked = np.concatenate([np.zeros((1, count), dtype=bool), states])
    by_number = np.empty(len(scores))
    by_number[blanked @ (1 << np.arange(count))] = scores
    numbers = np.arange(len(scores))
    sizes = _bits(numbers, count).sum(axis=1)
    # A set of k other regions comes before a region in k! (count - k - 1)! of the count! orders.
    weights = np.array([1 / (count * math.comb(count - 1, k)) for k in range(count)])
    values = np.empty(count)
    for region in range(count):
        without = numbers[numbers >> region & 1 == 0]
        values[region] = weights[sizes[without]] @ (by_number[without] - by_number[without | 1 << region])
    return values, np.zeros(count), by_number[0], by_number[-1], 0


def sampled_values(scores, states):
    """Means and standard errors over antithetic pairs, from the scores of the image and of the sets of `permuted`.

    Returns
    -------
    values, standard errors (regions,), score of the image, mean score with all blanked, number of permutations
    """
    count = states.shape[1]
    n_pairs = len(states) // (2 * count)
    turns = np.concatenate([np.zeros((1, count), dtype=bool), states])
    region = (turns[1:] ^ turns[:-1]).argmax(axis=1).reshape(n_pairs, 2, count)
    drops = -np.diff(scores).reshape(n_pairs, 2, count) * np.array([1, -1])[:, None]  # the second half restores
    pairs = np.take_along_axis(drops, region.argsort(axis=2), axis=2).mean(axis=1)
    blank = scores[count :: 2 * count].mean()
    errors = pairs.std(axis=0, ddof=1) / np.sqrt(n_pairs)
    return pairs.mean(axis=0), errors, scores[0], blank, 2 * n_pairs


def _bits(numbers, count):
    return (np.asarray(numbers)[:, None] >> np.arange(count) & 1).astype(bool)


def _merged(areas, merge, shape):
    """The regions as parts, by name: merged ones first, then the labels that remain."""
    if not areas:
        raise InputError("there is no area to blank: all masks are 0 throughout")
    require_apart(areas, shape)
    merge = {} if merge is None else merge
    if not isinstance(merge, dict):
        raise ConfigError("merge must be a dict of names to labels", found=merge)
    merged, used = {}, set()
    for name, labels in merge.items():
        inside = np.zeros(shape, dtype=bool)
        for label in np.atleast_1d(labels).tolist():
            if label not in areas or label in used:
                problem = "two regions of merge have the same label" if label in used else "merge names no area"
                raise ConfigError(problem, found=label, allowed=list(areas))
            used.add(label)
            inside[areas[label].box] |= areas[label].mask
        if not inside.any():
            raise ConfigError("a region of merge has no label", found=name)
        merged[name] = part_of(inside)
    rest = {label: area for label, area in areas.items() if label not in used}
    if both := merged.keys() & rest.keys():
        raise ConfigError("a name in merge is that of another area", found=both.pop(), hint="choose another name")
    return merged | rest


def _drawn(parts, shape):
    labels = np.zeros(shape, dtype=np.int32)
    for number, part in enumerate(parts.values(), start=1):
        labels[part.box][part.mask] = number
    return labels
