"""Mean heatmaps over a dataset, and the distance between two heatmaps."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from voxelwhy.errors import ConfigError, InputError, ShapeError
from voxelwhy.explain._shared.inputs import read_images
from voxelwhy.explain.plotting.pictures import as_array


def average_over_dataset(
    method,
    model,
    dataset,
    num_samples=None,
    seed=None,
    show_progress=None,
    *,
    by_label=False,
    labels=None,
    target_class=None,
    **options,
):
    """The mean heatmap over the images of a dataset, which needs memory for only two maps (per label).

    Parameters
    ----------
    method : an explanation method such as `sensitivity_analysis`, or any function (model, image, target_class, …) that
        returns a heatmap.
    model : torch.nn.Module in eval mode.
    dataset : a torch Dataset or DataLoader, or any iterable; its items are images or (image, label).
    num_samples : number of images to draw from the dataset without replacement; None uses all images.
    seed : seed of that draw; with None, each call draws other images.
    show_progress : True or False; None shows a progress bar on a terminal.
    by_label : True returns one mean per label.
    labels : a label or list of labels: only these images are used. None uses all images.
    target_class : the class to explain; "label" explains each image's own label, None the predicted class.
    options : passed on to the method.

    Returns
    -------
    heatmap : array (*spatial), float64; with `by_label` a dict of these, {label: heatmap}, in the order of the labels.

    Raises
    ------
    InputError : there is no image (with these labels), or an item has another form or lacks the label that is needed.
    ShapeError : heatmaps differ in shape; also raised by the method.
    ConfigError : the dataset has fewer images than `num_samples`, or no length to draw from.

    References
    ----------
    Rieke et al. 2018, section 3 (mean heatmaps of patients and controls).

    Examples
    --------
    The mean heatmap of each class, where each image is explained for its own class:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import average_over_dataset, sensitivity_analysis
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6**3, 2)).eval()
    >>> scans = [(torch.randn(8, 8, 8), label) for label in (0, 1, 1)]
    >>> means = average_over_dataset(sensitivity_analysis, network, scans, by_label=True, target_class="label")
    >>> list(means), means[1].shape
    ([0, 1], (8, 8, 8))
    >>> of_ones = [sensitivity_analysis(network, scan, target_class=1) for scan, label in scans if label == 1]
    >>> bool(abs(means[1] - (of_ones[0] + of_ones[1]) / 2).max() < 1e-6)
    True
    """
    only = None if labels is None else {_plain(label) for label in (labels if np.ndim(labels) else [labels])}
    own = isinstance(target_class, str) and target_class == "label"
    needed = by_label or only is not None or own
    means = {}
    for number, item in enumerate(_items(dataset, num_samples, seed, show_progress)):
        image, label = _image_and_label(item, number, needed)
        many = read_images(image, model, options.get("three_d"))[1]
        image_labels = _labels(label, len(image) if many else None, number)
        kept = [i for i, one in enumerate(image_labels) if only is None or one in only]
        if not kept:
            continue
        if many and len(kept) < len(image_labels):
            image, image_labels = [image[i] for i in kept], [image_labels[i] for i in kept]
        target = target_class if not own else (image_labels if many else image_labels[0])
        heatmaps = method(model, image, target_class=target, **options)
        for heatmap, one in zip(heatmaps if many else [heatmaps], image_labels, strict=True):
            means.setdefault(one if by_label else None, _Mean()).add(heatmap, number)
    if not means:
        raise InputError(
            "there is no image to average over",
            found="an empty dataset" if only is None else f"no image with the labels {sorted(only, key=str)}",
        )
    if by_label:
        return {label: means[label].value for label in sorted(means, key=lambda label: (str(type(label)), label))}
    return means[None].value


class _Mean:
    """The running mean of arrays of one shape; in float64, because many are summed."""

    def __init__(self):
        self.total, self.count = None, 0

    def add(self, values, number):
        values = as_array(values, f"the heatmap of image {number}")
        if self.total is None:
            self.total = np.zeros(values.shape)
        if values.shape != self.total.shape:
            raise ShapeError(
                f"the heatmap of image {number} has shape {values.shape}, those before it {self.total.shape}: "
                "a mean needs images of the same shape"
            )
        self.total += values
        self.count += 1

    @property
    def value(self):
        return self.total / self.count


def _items(dataset, num_samples, seed, show_progress):
    """All items of a dataset or a sample of them, with a progress bar."""
    length = len(dataset) if hasattr(dataset, "__len__") else None
    if num_samples is not None:
        if length is None or not hasattr(dataset, "__getitem__"):
            raise ConfigError("num_samples needs a dataset with a length and an index", found=type(dataset).__name__)
        if not 1 <= num_samples <= length:
            raise ConfigError(
                "num_samples is out of range", found=num_samples, allowed=f"1 to {length}, the size of the dataset"
            )
        chosen = np.random.default_rng(seed).choice(length, num_samples, replace=False)
        items, length = (dataset[int(i)] for i in chosen), num_samples
    elif length is not None and hasattr(dataset, "__getitem__"):
        items = (dataset[i] for i in range(length))  # iterating over a torch Dataset need not end by itself
    else:
        items = iter(dataset)
    quiet = None if show_progress is None else not show_progress
    return tqdm(items, desc="images", total=length, delay=0 if show_progress else 1, leave=False, disable=quiet)


def _image_and_label(item, number, needed):
    """The image and the label (None if there is none) of an item of the dataset."""
    if not isinstance(item, (tuple, list)):
        item = (item,)
    if len(item) not in (1, 2):
        raise InputError(
            f"item {number} of the dataset has another form",
            found=f"{len(item)} things",
            allowed="an image, or (image, label)",
        )
    if needed and len(item) == 1:
        raise InputError(f"item {number} of the dataset has no label", allowed="(image, label)")
    return item[0], item[1] if len(item) == 2 else None


def _labels(label, count, number):
    """The label of each image in an item: a single image (count None), or a batch."""
    if label is None:
        return [None] * (1 if count is None else count)
    if count is None:
        return [_plain(label)]
    if np.ndim(label) != 1 or len(label) != count:
        raise InputError(
            f"item {number} of the dataset is a batch of {count}", found=label, allowed="one label per image"
        )
    return [_plain(one) for one in label]


def _plain(label):
    """A label as a plain Python value: the 1 of a tensor or of numpy becomes 1."""
    if not isinstance(label, (torch.Tensor, np.ndarray, np.generic)):
        return label
    if any(length != 1 for length in label.shape):
        raise InputError("a label must be one number or word", found=f"shape {tuple(label.shape)}")
    return label.item()


def heatmap_distance(a, b):
    """The Euclidean distance between two heatmaps, each scaled so that its absolute values sum to 1.

    For maps without negative values, this is the distance of the original code. The studies of this project compute it
    inside the brain: `heatmap_distance(a[brain], b[brain])`.

    Parameters
    ----------
    a, b : arrays of the same shape; numpy, torch or nibabel.

    Returns
    -------
    distance : float between 0 (equal up to a positive factor) and 2

    Raises
    ------
    ShapeError : the shapes differ, or a map contains NaN or infinity.
    InputError : a map is 0 everywhere and cannot be scaled.

    References
    ----------
    Rieke et al. 2018, section 3 (distances between mean heatmaps).

    Examples
    --------
    A factor makes no difference, but another location does:

    >>> import numpy as np
    >>> from voxelwhy import heatmap_distance
    >>> a, b = np.array([1.0, 3.0, 0.0]), np.array([0.0, 0.0, 1.0])
    >>> heatmap_distance(a, 5 * a), round(heatmap_distance(a, b), 3)
    (0.0, 1.275)
    """
    first, second = (as_array(values, f"heatmap {name}").astype(float) for name, values in (("a", a), ("b", b)))
    if first.shape != second.shape:
        raise ShapeError(f"heatmap a has shape {first.shape}, heatmap b {second.shape}: nothing is resampled here")
    for name, values in (("a", first), ("b", second)):
        if not values.any():
            raise InputError(f"heatmap {name} is 0 everywhere: its relevance cannot be scaled to 1")
    first, second = (values / np.abs(values).sum() for values in (first, second))
    return float(np.linalg.norm(first - second))
