"""Models on disk: weights with a card that says what they are. Same model, same bytes; loading runs no code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from voxelwhy.errors import InputError, ModelError
from voxelwhy.models.devices import pick_device
from voxelwhy.models.networks import build_network

NEEDED = ("network", "options", "spatial_shape")


def _plain(value, where="card"):
    """A copy of `value` of plain types and tensors only.

    Pickle writes an object that it has met before as a reference to it. Copying every container and tensor and
    interning every string makes the bytes follow from the values alone, not from who shares what in memory.
    """
    if isinstance(value, dict):
        return {_plain(key, f"{where} key"): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return sys.intern(str(value))
    if type(value) is str:
        return sys.intern(value)
    if value is None or type(value) in (bool, int, float):
        return value
    raise ModelError(f"{where} cannot be stored with a model: a {type(value).__name__}; plain types and tensors can")


def save_model(path, model: nn.Module, card: dict):
    """Write the weights of `model` and its `card` to `path`; the same values give the same bytes.

    Parameters
    ----------
    path : the file to write (replaced at once, never half-written).
    model : a network of `build_network`.
    card : what is known of it. `network`, `options` and `spatial_shape` are needed to build it again; classes,
        normalisation tensors, crop, settings and provenance belong here too. Plain types, arrays and tensors.

    Raises
    ------
    ModelError : the card lacks what loading needs, or holds what is neither plain nor a tensor.
    """
    missing = [key for key in NEEDED if key not in card]
    if missing:
        raise ModelError(f"the card of a model needs {', '.join(NEEDED)}; missing: {', '.join(missing)}")
    stored = {"card": _plain(card), "weights": _plain(dict(model.state_dict()), "weights")}
    buffer = io.BytesIO()  # torch.save writes the file's name into the file: a buffer has none
    torch.save(stored, buffer)
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(buffer.getvalue())
    os.replace(beside, path)


def load_model(path, device="cpu") -> tuple[nn.Module, dict]:
    """Read a model that `save_model` wrote.

    Returns
    -------
    model : in eval mode, on `device`.
    card : as saved; its tensors lie on the CPU.

    Raises
    ------
    InputError : no such file.
    ModelError : not such a file (nothing in it is run), or weights of another architecture: it names the layer and
        both shapes.
    """
    stored = _read(path)
    card, weights = stored["card"], stored["weights"]
    with torch.random.fork_rng(devices=[]):  # the values about to be replaced must not use up the caller's seed
        model = build_network(card["network"], card["spatial_shape"], **card["options"])
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    return model.eval().to(pick_device(device)), card


def _read(path):
    """The dict in the file, with all that loading needs."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no such model file", file=path) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path} is not a model file of voxelwhy, and was not run: {reason}") from error
    card = stored.get("card") if isinstance(stored, dict) else None
    if not isinstance(card, dict) or not isinstance(stored.get("weights"), dict) or any(k not in card for k in NEEDED):
        raise ModelError(
            f"{path} is not a model file of voxelwhy: it needs weights and a card with {', '.join(NEEDED)}"
        )
    return stored


def check_weights(model: nn.Module, weights: dict, name):
    """Raise ModelError, naming the first layer that differs and both shapes, unless `weights` are those of `model`."""
    expected = model.state_dict()
    for key in [*expected, *(key for key in weights if key not in expected)]:
        shapes = [tuple(which[key].shape) if key in which else "no such layer" for which in (weights, expected)]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"the weights in {name} are of another architecture: {key} is {shapes[0]} there, "
                f"{shapes[1]} in the network"
            )


def hash_weights(model: nn.Module) -> str:
    """SHA-256 (hex) of the weights and buffers, in the order of their names; device and file do not matter."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
