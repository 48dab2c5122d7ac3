"""Your own networks: a factory in a module of yours, named `module:factory`."""

from __future__ import annotations

import copy
import importlib
import traceback

import torch
from torch import nn

from voxelwhy.errors import ConfigError, ModelError

LOGITS = (1, 2)  # a study has two classes


def is_own(name) -> bool:
    """Whether `name` is that of a user's own network, `module:factory`."""
    return isinstance(name, str) and ":" in name


def own_network(name, spatial_shape, options, channels=1) -> nn.Module:
    """The network from the factory `name`, `factory(spatial_shape, **options)`, checked on an empty image.

    Parameters
    ----------
    name : `module:factory`. The module must be importable: its folder is on PYTHONPATH, or it is installed.
    spatial_shape : tuple of int, voxels along each axis; the images are (n, channels, *spatial_shape).
    options : dict of the keyword arguments of the factory.

    Raises
    ------
    ConfigError : the module does not exist, it has no such factory, or the factory does not take these options.
    ModelError : the module or the factory fails (the message gives the error and the line); the result is not a torch
        module, or does not return one or two real logits per image.
    """
    model = _call(_factory(name), name, spatial_shape, options)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returns a {type(model).__name__}; a torch.nn.Module is expected")
    logits = _output(model, name, (channels, *spatial_shape))
    right = isinstance(logits, torch.Tensor) and logits.is_floating_point()
    if not right or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] not in LOGITS:
        found = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits)
        raise ModelError(
            f"the network of {name} returns {found} for one image; logits of shape (1, 2), or (1, 1) for the positive "
            "class alone, are expected"
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
            allowed="module:factory, where the module is next to the config, in a folder of PYTHONPATH, or installed",
        ) from error
    except Exception as error:
        raise ModelError(f"the module of {name} cannot be imported: {_where(error)}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        what = "is not a function" if hasattr(module, attribute) else "does not exist"
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"the factory {what}: {attribute} in {getattr(module, '__file__', module_name)}",
            found=name,
            allowed=[f"{module_name}:{key}" for key in functions] or "a function that returns a network",
        )
    return factory


def _call(factory, name, spatial_shape, options):
    try:
        return factory(spatial_shape, **options)
    except Exception as error:
        if isinstance(error, TypeError) and len(traceback.extract_tb(error.__traceback__)) == 1:
            raise ConfigError(  # the factory did not start: the arguments do not match its signature
                f"the factory {name} cannot be called with (shape, **options): {error}",
                found=options,
                allowed="the keyword arguments of the factory, in model.options",
            ) from error
        raise ModelError(f"{name} fails on the grid {spatial_shape} with options {options}: {_where(error)}") from error


def _output(model, name, image_shape):
    """The output of the network for one image; computed without data if its operators allow it."""
    probe = copy.deepcopy(model).eval()
    image = torch.zeros(1, *image_shape)
    with torch.no_grad():
        try:
            return copy.deepcopy(probe).to("meta")(image.to("meta"))
        except Exception:  # the network may be broken, or it may only fail on the meta device
            try:
                return probe(image)
            except Exception as error:
                raise ModelError(
                    f"the network of {name} cannot take an image of shape {tuple(image.shape)}: {_where(error)}"
                ) from error


def _where(error):
    """An error in one line, with the file and line that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    last = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{last}"
