"""Shared by all methods: check model, image and target, run the model, and restore it afterwards."""

from __future__ import annotations

import logging
import operator
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from itertools import chain
from numbers import Integral
from os import PathLike
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from voxelwhy.errors import ConfigError, ModelError, ShapeError
from voxelwhy.explain._shared.half import widened
from voxelwhy.explain._shared.inputs import read_images
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.ensemble import Ensemble

log = logging.getLogger(__name__)
VERBOSE = ContextVar("verbose", default=False)
_EXPECTED = ContextVar("images", default=1)
#: Largest relative difference of logits that counts as rounding.
ROUNDED = {torch.float64: 1e-9, torch.float32: 1e-4}
#: What Python says of a network with a second input, and the network that fixes it.
MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'")
WRAPPER = """\
    class OfTheImage(torch.nn.Module):
        def __init__(self, network): super().__init__(); self.network = network
        def forward(self, image): return self.network(image, {name}=...)  # the value for each image of a batch
"""
#: Networks that give the same logits for the same image, and whether networks keep the images of a batch apart; each
#: network is tried once.
_STEADY = WeakSet()
_SEPARATE = WeakKeyDictionary()


def each_image(
    explain: Callable,
    model,
    image,
    *,
    target_class=None,
    device="auto",
    cuda=None,
    verbose=False,
    three_d=None,
) -> np.ndarray:
    """The heatmap of each image from `explain(batch, target)`, with the checks and conversions that all methods share.

    Parameters
    ----------
    explain : function of a batch of one image, (1, channels, *spatial), in the model's data type and on the device in
        use, and of the class (None is the predicted class); it returns (*values).
    image : see `voxelwhy.explain._shared.inputs.read_images`.
    target_class : None, a class, or (for a batch) one of these for each image.
    device : "auto" is the device of the model unless that is the CPU; otherwise `pick_device` chooses. If the model has
        to move, it is moved back afterwards.
    cuda : as in the original package: True selects the first CUDA device, with a warning if there is none, and False
        the CPU; None leaves the choice to `device`.
    verbose : True prints the log messages of the method, and shows a progress bar even without a terminal.

    Returns
    -------
    heatmap : (*values) for one image, (n, *values) for a batch; float32, or float64 for a float64 model.

    Raises
    ------
    ModelError : the model is not a torch module, or is partly or wholly in training mode; the heatmap contains NaN.
    ShapeError : the image does not fit the model, or contains NaN or infinity.
    """
    options = {"device": device, "cuda": cuda, "verbose": verbose, "three_d": three_d}
    maps, is_batch = each_result(
        lambda batch, target: as_map(explain(batch, target), batch), model, image, target_class=target_class, **options
    )
    return np.stack(maps) if is_batch else maps[0]


def each_result(
    explain: Callable, model, image, *, target_class, device, cuda, verbose, three_d=None
) -> tuple[list, bool]:
    """What `explain(batch, target)` returns for each image, whatever that is, and whether a batch was given.

    Checks and arguments are those of `each_image`.
    """
    check_model(model)
    first = next((t for t in chain(model.parameters(), model.buffers()) if t.is_floating_point()), None)
    home = first.device if first is not None else torch.device("cpu")
    work = _device(device, cuda, home)
    with torch.inference_mode(False), _telling(verbose), ExitStack() as stack:
        images, is_batch = read_images(image, model, three_d)
        stack.enter_context(expecting(max(len(images), expected())))
        targets = _targets(target_class, len(images), is_batch)
        images = images.to(_dtype(first, images))
        try:
            if work != home:
                model.to(work)
            require_steady(model, images[:1].to(work))
            pairs = progress(zip(images, targets, strict=True), total=len(images), what="images", least=2)
            batches = ((one[None].to(work), target) for one, target in pairs)
            return [explain(batch, target) for batch, target in batches], is_batch
        finally:
            if work != home:
                model.to(home)


@contextmanager
def expecting(images) -> Iterator[None]:
    """State inside this block how many images of one shape will be explained: what is done once pays off sooner."""
    token = _EXPECTED.set(max(1, int(images)))
    try:
        yield
    finally:
        _EXPECTED.reset(token)


def expected() -> int:
    """The number of images stated by `expecting`; 1 elsewhere."""
    return _EXPECTED.get()


def check_count(name, value, *, least):
    """Raise ConfigError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}", found=value)


def check_model(model):
    """Raise ModelError unless `model` is a single network, a torch module, in eval mode throughout."""
    if not isinstance(model, nn.Module):
        hints = {"ExportedProgram": ": load_exported(program) converts it", "str": ": load_network(path) reads one"}
        hint = hints.get("str" if isinstance(model, PathLike) else type(model).__name__, "")
        raise ModelError(f"the model is a {type(model).__name__}; a torch.nn.Module is expected{hint}")
    if isinstance(model, Ensemble):
        # Methods that look at one layer would silently see that of a single member.
        raise ModelError(
            f"the model is an ensemble of {len(model.members)} networks: explain each of `model.members` and average "
            "the heatmaps"
        )
    # A frozen TorchScript module has no attribute `training`.
    training = [
        name or type(model).__name__ for name, module in model.named_modules() if getattr(module, "training", 0)
    ]
    if training:
        raise ModelError(
            f"the model is in training mode ({training[0]}): dropout and batch normalisation would change the result. "
            "Call model.eval() first"
        )


def _device(device, cuda, home):
    if cuda is None:
        return home if str(device) == "auto" and home.type != "cpu" else pick_device(device)
    if str(device) != "auto":
        raise ConfigError("both `cuda` and `device` are given", found=f"cuda={cuda}, device={device}", allowed="one")
    if cuda and not torch.cuda.is_available():
        warnings.warn(
            "cuda=True, but this machine has no CUDA device: computing on the CPU, with the same result", stacklevel=5
        )
        return pick_device("cpu")
    return pick_device("cuda" if cuda else "cpu")


def _dtype(first, images):
    """The data type of the model's weights; if it has none, that of the images."""
    if first is not None:
        return first.dtype
    return images.dtype if images.is_floating_point() else torch.float32


def _targets(target_class, count, is_batch):
    """A class (or None) for each image."""
    if not is_batch or np.ndim(target_class) == 0:
        return [target_class] * count
    if len(target_class) != count:
        raise ModelError(f"target_class has {len(target_class)} classes for {count} images; one per image is expected")
    return list(target_class)


@contextmanager
def _telling(verbose):
    """Print the log messages of the methods inside this block."""
    if not verbose:
        yield
        return
    logger, handler = logging.getLogger("voxelwhy"), logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, token = logger.level, VERBOSE.set(True)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        VERBOSE.reset(token)


def progress(iterable: Iterable, *, what, total=None, least=1) -> Iterator:
    """The same items, with a progress bar on a terminal (anywhere with `verbose`) if they take longer than a second."""
    total = len(iterable) if total is None else total
    bar = tqdm(
        iterable,
        desc=what,
        total=total,
        delay=1,
        leave=False,
        # With None, tqdm shows the bar only on a terminal.
        disable=True if total < least else (False if VERBOSE.get() else None),
    )
    return iter(bar)


def run_model(model, batch) -> torch.Tensor:
    """The logits of a batch: (n, classes), or (n, 1) if the network has a single logit, that of class 1.

    Raises
    ------
    ShapeError : the network cannot take images of this shape.
    ModelError : the network needs further inputs, or the output is not one row of finite, real logits per image.
    """
    try:
        logits = model(batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ShapeError(f"the network cannot take an image of shape {tuple(batch.shape[1:])}: {error}") from error
    except TypeError as error:
        if not (missing := MISSING.search(str(error))):
            raise
        raise ModelError(
            f"the network needs more than an image: {error}. Explain a network in which the other inputs are fixed:\n\n"
            + WRAPPER.format(name=missing[1])
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise ModelError(
            f"the network returns a {type(logits).__name__}; a tensor of logits (n, classes) is expected. If it has "
            "several outputs, wrap it in a torch.nn.Module whose forward returns the one to explain"
        )
    logits = two_axes(logits, len(batch))
    if logits.ndim != 2 or len(logits) != len(batch) or not logits.is_floating_point():
        raise ModelError(
            f"the network returns {logits.dtype} of shape {tuple(logits.shape)} for {len(batch)} image(s); "
            "real logits of shape (n, classes), or one per image, are expected"
        )
    if not bool(torch.isfinite(logits).all()):
        raise ModelError("the network returns NaN or infinite logits for this image")
    return logits


def two_axes(logits, n_images=None) -> torch.Tensor:
    """Logits (n,) of a network with a single logit as (n, 1); others unchanged.

    For one image, a network that ends with `squeeze()` returns a number, or its classes without the axis of the images.
    """
    if n_images == 1 and logits.ndim < 2:
        return logits.reshape(1, -1)
    return logits[:, None] if logits.ndim == 1 else logits


def bare(model) -> nn.Module:
    """The network inside nn.DataParallel or torch.compile, which do not change what it computes."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def images_are_separate(model, batch) -> bool:
    """Whether the logits of an image stay the same if the other image of its batch changes, tried once for a network.

    A network that standardises the whole tensor, or normalises by the statistics of the batch, mixes its images: they
    have to be run one by one. The same holds for a network that takes a single image.

    Parameters
    ----------
    batch : tensor (1, channels, *spatial)

    Raises
    ------
    ModelError : the same image gives different logits, as with dropout that stays on.
    """
    if model not in _SEPARATE:
        with torch.no_grad():
            _SEPARATE[model] = _are_separate(model, batch)
        if not _SEPARATE[model]:
            log.warning("the network mixes the images of a batch or takes only one, so they are run one by one: slower")
    return _SEPARATE[model]


def _are_separate(model, batch):
    require_steady(model, batch)
    try:
        alike = run_model(model, batch.repeat(2, *[1] * (batch.ndim - 1)))
        others = (2 * batch.flip(-1) + 1, -3 * batch.flip(-1) - 2)  # of either sign
        mixed = [run_model(model, torch.cat([batch, other])) for other in others]
    except (ModelError, ShapeError):
        return False
    return all(same_logits(alike[:1], found) for found in (alike[1:], *(logits[:1] for logits in mixed)))


def require_steady(model, batch):
    """Raise ModelError if a network gives other logits for the same image; tried once for a network."""
    if model in _STEADY:
        return
    with torch.no_grad():
        first, second = (run_model(model, batch.clone()) for _ in range(2))
    if not same_logits(first, second):
        dropping = [name for name, one in model.named_modules() if "drop" in type(one).__name__.lower()]
        raise ModelError(
            "the network gives different logits for the same image, "
            f"{first[0].tolist()} and {second[0].tolist()}: dropout or noise stays on in eval mode"
            + (f" (its layers of this kind: {', '.join(dropping[:5])})" if dropping else "")
            + ". Write F.dropout(x, p, training=self.training), or use nn.Dropout"
        )
    _STEADY.add(model)


def same_logits(one, other) -> bool:
    """Whether logits differ by no more than rounding explains: batches and graphs sum in different orders."""
    allowed = ROUNDED.get(one.dtype, 0.03) * (1 + float(other.abs().max()))
    return bool((one - other).abs().max() <= allowed)


def pick_target(logits, target_class) -> int:
    """The class to explain: `target_class`, or the predicted class if that is None.

    Raises
    ------
    ModelError : the network does not have that class.
    """
    classes = max(2, logits.shape[1])
    predicted = int(logits[0].argmax()) if logits.shape[1] > 1 else int(logits[0, 0] > 0)
    if target_class is None:
        target = predicted
    else:
        try:
            target = operator.index(target_class)
        except TypeError as error:
            raise ModelError(f"target_class is {target_class!r}; None or a whole number is expected") from error
    if not 0 <= target < classes:
        raise ModelError(f"target_class is {target}; the network has the classes 0 to {classes - 1}")
    if log.isEnabledFor(logging.INFO):
        sure = float(class_score(logits[:1].detach(), predicted, True))
        log.info("predicted class %d, probability %.4f; class %d is explained", predicted, sure, target)
    return target


def class_score(logits, target, apply_softmax) -> torch.Tensor:
    """Probability (or logit) of class `target` for each row, in float64.

    A single logit z is that of class 1: the probabilities are sigmoid(-z) and sigmoid(z), and the logits -z and z.

    In float32, the softmax of a confident network rounds to exactly 1 and its gradient vanishes; in float64, a logit
    difference of 20 still has its gradient of 2e-9.
    """
    scores, scale = widened(logits)
    if scores.shape[1] == 1:
        z = scores[:, 0] if target == 1 else -scores[:, 0]
        return scale.on(z.sigmoid() if apply_softmax else z)
    if apply_softmax and _are_probabilities(scores.detach()[0]):
        warnings.warn(
            "the network returns probabilities already, and a second softmax would flatten them: remove its last "
            "layer, or set apply_softmax=False",
            stacklevel=2,
        )
    return scale.on((scores.softmax(dim=1) if apply_softmax else scores)[:, target])


def _are_probabilities(row):
    return bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-5


def as_map(values, batch) -> np.ndarray:
    """A heatmap as a numpy array in float32, or in float64 for a float64 model.

    Raises
    ------
    ModelError : the map contains NaN or infinity.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise ModelError(
            "the heatmap contains NaN or infinite values: the network has no finite gradient at this image"
        )
    return np.ascontiguousarray(values, dtype=np.float64 if batch.dtype == torch.float64 else np.float32)
