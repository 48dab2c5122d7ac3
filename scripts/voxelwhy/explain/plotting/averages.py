"""Mean heatmaps over a dataset, and how far two heatmaps lie apart."""

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
    """The mean heatmap over the images of a dataset, one image after the other: two maps lie in memory (per label).

    Parameters
    ----------
    method : an explanation method, `sensitivity_analysis` say, or any function (model, image, target_class, …) that
        gives a heatmap.
    model : torch.nn.Module in eval mode.
    dataset : a torch Dataset or DataLoader, or anything to iterate over; its items are images or (image, label).
    num_samples : so many images of the dataset, drawn without replacement; None is all of them.
    seed : of that draw; None draws anew each time.
    show_progress : True or False; None shows a progress bar on a terminal.
    by_label : True gives a mean for each label.
    labels : only images of these labels count, one or a list; None is all.
    target_class : the class to explain; "label" is each image's own label, None the predicted class.
    options : passed on to the method.

    Returns
    -------
    heatmap : array (*spatial), float64; with `by_label` a dict of these, {label: heatmap}, in the order of the labels.

    Raises
    ------
    InputError : no image (of these labels); an item of another form, or without the label that is needed.
    ShapeError : heatmaps of different shapes; what the method refuses.
    ConfigError : more samples than the dataset has, or a dataset without a length to draw from.

    References
    ----------
    Rieke et al. 2018, section 3 (mean heatmaps of patients and controls).

    Examples
    --------
    The mean heatmap of each class, each image's own class explained:

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
            found="an empty dataset" if only is None else f"no image of the labels {sorted(only, key=str)}",
        )
    if by_label:
        return {label: means[label].value for label in sorted(means, key=lambda label: (str(type(label)), label))}
    return means[None].value


class _Mean:
    """The mean of arrays of one shape that come one by one; float64, since many are summed."""

    def __init__(self):
        self.total, self.count = None, 0

    def add(self, values, number):
        values = as_array(values, f"the heatmap of image {number}")
        if self.total is None:
            self.total = np.zeros(values.shape)
        if values.shape != self.total.shape:
            raise ShapeError(
                f"the heatmap of image {number} has shape {values.shape}, those before it {self.total.shape}: "
                "a mean needs images of one shape"
            )
        self.total += values
        self.count += 1

    @property
    def value(self):
        return self.total / self.count


def _items(dataset, num_samples, seed, show_progress):
    """The items of a dataset, all or a sample, with a progress bar."""
    length = len(dataset) if hasattr(dataset, "__len__") else None
    if num_samples is not None:
        if length is None or not hasattr(dataset, "__getitem__"):
            raise ConfigError("num_samples needs a dataset with a length and an index", found=type(dataset).__name__)
        if not 1 <= num_samples <= length:
            raise ConfigError("num_samples", found=num_samples, allowed=f"1 to {length}, the images of the dataset")
        chosen = np.random.default_rng(seed).choice(length, num_samples, replace=False)
        items, length = (dataset[int(i)] for i in chosen), num_samples
    elif length is not None and hasattr(dataset, "__getitem__"):
        items = (dataset[i] for i in range(length))  # a torch Dataset need not end by itself
    else:
        items = iter(dataset)
    quiet = None if show_progress is None else not show_progress
    return tqdm(items, desc="images", total=length, delay=0 if show_progress else 1, leave=False, disable=quiet)


def _image_and_label(item, number, needed):
    """The image and its label (None where there is none) of a dataset's item."""
    if not isinstance(item, (tuple, list)):
        item = (item,)
    if len(item) not in (1, 2):
        raise InputError(
            f"item {number} of the dataset", found=f"{len(item)} things", allowed="an image, or (image, label)"
        )
    if needed and len(item) == 1:
        raise InputError(f"item {number} of the dataset has no label", allowed="(image, label)")
    return item[0], item[1] if len(item) == 2 else None


def _labels(label, count, number):
    """The label of each image of an item: of one image (count None), or of a batch."""
    if label is None:
        return [None] * (1 if count is None else count)
    if count is None:
        return [_plain(label)]
    if np.ndim(label) != 1 or len(label) != count:
        raise InputError(f"item {number} of the dataset is a batch of {count}", found=label, allowed="a label for each")
    return [_plain(one) for one in label]


def _plain(label):
    """A label as Python has it, to compare and to name: the 1 of a tensor or of numpy is a plain 1."""
    if not isinstance(label, (torch.Tensor, np.ndarray, np.generic)):
        return label
    if any(length != 1 for length in label.shape):
        raise InputError("a label is one number or word", found=f"shape {tuple(label.shape)}")
    return label.item()


def heatmap_distance(a, b):
    """How far two heatmaps lie apart: the Euclidean distance after each is scaled to absolute values that sum to 1.

    The figure is that of the original code for maps without negative values, and that of this project's studies,
    which take it inside the brain: `heatmap_distance(a[brain], b[brain])`.

    Parameters
    ----------
    a, b : arrays of one shape; numpy, torch or nibabel.

    Returns
    -------
    distance : float, 0 (the same but for a factor above 0) to 2

    Raises
    ------
    ShapeError : different shapes; NaN or infinity.
    InputError : a map that is 0 everywhere, which cannot be scaled.

    References
    ----------
    Rieke et al. 2018, section 3 (distances between mean heatmaps).

    Examples
    --------
    A factor makes no difference; what lies elsewhere does:

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
