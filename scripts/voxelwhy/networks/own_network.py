"""Networks of a person's own: a factory in a module of theirs, named as `module:factory`."""

from __future__ import annotations

import copy
import importlib
import traceback

import torch
from torch import nn

from voxelwhy.errors import ConfigError, ModelError

LOGITS = (1, 2)  # a study has two classes


def is_own(name) -> bool:
    """Whether a network's name is that of a person's own, `module:factory`."""
    return isinstance(name, str) and ":" in name


def own_network(name, spatial_shape, options, channels=1) -> nn.Module:
    """The network that the factory `name` makes: `factory(spatial_shape, **options)`, checked on an empty image.

    Parameters
    ----------
    name : `module:factory`. The module is imported as any other: its folder is on PYTHONPATH, or it is installed.
    spatial_shape : tuple of int, voxels along each axis; the images are (n, channels, *spatial_shape).
    options : dict of what the factory takes by name.

    Raises
    ------
    ConfigError : no such module, no such factory in it, or options that it does not take.
    ModelError : the module or the factory fails (it says how and in which line); what comes out is no torch module, or
        it does not give one or two real logits for each image.
    """
    model = _call(_factory(name), name, spatial_shape, options)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} gives a {type(model).__name__}; a torch.nn.Module is wanted")
    logits = _output(model, name, (channels, *spatial_shape))
    right = isinstance(logits, torch.Tensor) and logits.is_floating_point()
    if not right or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] not in LOGITS:
        found = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits)
        raise ModelError(
            f"the network of {name} gives {found} for one image; logits of shape (1, 2), or (1, 1) for the positive "
            "class alone, are wanted"
        )
    return model


def _factory(name):
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ModelError(f"the module of {name} cannot be imported: {_where(error)}") from error
        raise ConfigError(
            "there is no such module",
            found=name,
            allowed="module:factory, the module beside the config, in a folder of PYTHONPATH, or installed",
        ) from error
    except Exception as error:
        raise ModelError(f"the module of {name} cannot be imported: {_where(error)}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        what = "is no function" if hasattr(module, attribute) else "is not there"
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"the factory {what}: {attribute} in {getattr(module, '__file__', module_name)}",
            found=name,
            allowed=[f"{module_name}:{key}" for key in functions] or "a function that gives a network",
        )
    return factory


def _call(factory, name, spatial_shape, options):
    try:
        return factory(spatial_shape, **options)
    except Exception as error:
        if isinstance(error, TypeError) and len(traceback.extract_tb(error.__traceback__)) == 1:
            raise ConfigError(  # it never began: the call does not fit
                f"the factory {name} cannot be called with (shape, **options): {error}",
                found=options,
                allowed="the options that it takes by name, in model.options",
            ) from error
        raise ModelError(f"{name} fails on the grid {spatial_shape} with options {options}: {_where(error)}") from error


def _output(model, name, image_shape):
    """What the network gives for one image; computed without data where its operators can do that."""
    probe = copy.deepcopy(model).eval()
    image = torch.zeros(1, *image_shape)
    with torch.no_grad():
        try:
            return copy.deepcopy(probe).to("meta")(image.to("meta"))
        except Exception:  # the network itself may be at fault, or only this way of running it
            try:
                return probe(image)
            except Exception as error:
                raise ModelError(
                    f"the network of {name} cannot take an image of shape {tuple(image.shape)}: {_where(error)}"
                ) from error


def _where(error):
    """An error in one line, with the place in the file where it came up."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    last = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{last}"
