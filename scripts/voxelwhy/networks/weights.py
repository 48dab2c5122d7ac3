"""Models on disk: weights with a card that describes them. Equal models give equal bytes; loading runs no code."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.build import build_network
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.ensemble import one_model
from voxelwhy.networks.own_network import is_own

NEEDED = ("network", "options", "spatial_shape")
#: Keys under which checkpoints from elsewhere keep their state dict, and the prefix of DataParallel.
NESTED = ("state_dict", "model_state_dict", "model")
PARALLEL = "module."
#: A message lists at most this many layers for each kind of difference.
LISTED = 12


def _plain(value, where="card"):
    """A copy of `value` that consists of plain types and tensors only.

    Pickle writes an object that it has written before as a reference. Because every container and tensor is copied and
    every string interned, the bytes depend only on the values, not on which objects are shared in memory.
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
    raise ModelError(
        f"{where} is a {type(value).__name__} and cannot be stored with a model: only plain types and tensors can"
    )


def save_model(path, model: nn.Module, card: dict):
    """Write the weights of `model` and its `card` to `path`; the same values give the same bytes.

    Parameters
    ----------
    path : the file to write (replaced atomically, never half-written).
    model : a network of `build_network`, or an Ensemble of such networks (`card["seeds"]` is their number).
    card : dict of plain types, arrays and tensors that describes the model. `network`, `options` and `spatial_shape`
        are needed to rebuild it; classes, normalisation tensors, crop, settings and provenance also belong here.

    Raises
    ------
    ModelError : the card lacks a key that loading needs, or contains other objects than plain types and tensors.
    """
    missing = [key for key in NEEDED if key not in card]
    if missing:
        raise ModelError(f"the card of a model needs {', '.join(NEEDED)}; missing: {', '.join(missing)}")
    stored = {"card": _plain(card), "weights": _plain(dict(model.state_dict()), "weights")}
    buffer = io.BytesIO()  # torch.save would write the file name into the file; a buffer has none
    torch.save(stored, buffer)
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(buffer.getvalue())
    os.replace(beside, path)


def load_model(path, device="cpu", *, own=None) -> tuple[nn.Module, dict]:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    path : the file.
    device : see `pick_device`.
    own : `module:factory` of your own network, if the file may contain that one; its code is then imported. No other
        code is run, whatever the file contains.

    Returns
    -------
    model : in eval mode, on `device`; an Ensemble if several trainings are stored.
    card : as saved, with its tensors on the CPU.

    Raises
    ------
    InputError : the file does not exist.
    ModelError : the file is not from `save_model` (nothing in it is run), its weights are of another architecture (the
        message names the layers and both shapes), or its network is a user's own that `own` does not name.
    """
    stored = _read(path)
    card, weights = stored["card"], stored["weights"]
    if is_own(card["network"]) and card["network"] != own:
        raise ModelError(
            f"{path} is a model of the network {card['network']}, whose code is not in the file. If you have that "
            f"code and trust it: load_model(path, own={card['network']!r})"
        )
    with torch.random.fork_rng(devices=[]):  # these initial values are replaced and must not use up the caller's seed
        channels = len(card.get("channels", ("t1",)))
        how = {"image_channels": channels, **card["options"]}
        members = [build_network(card["network"], card["spatial_shape"], **how) for _ in range(card.get("seeds", 1))]
        model = one_model(members)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    return model.eval().to(pick_device(device)), card


def read_weights(path) -> tuple[dict, dict | None]:
    """Read weights from a file of `save_model`, or a plain state dict from elsewhere.

    A state dict may be in the format of PyTorch before 1.6 with storages on a GPU, part of a checkpoint (under
    `state_dict`, `model_state_dict` or `model`), and have the prefix of `DataParallel` on every name.

    Returns
    -------
    weights : dict of str to tensor, on the CPU, with the parameter names of the network itself
    card : the card from `save_model`; None for a plain state dict

    Raises
    ------
    InputError : the file does not exist.
    ModelError : the file contains objects other than tensors and plain types (nothing in it is run), or no state dict;
        the message describes what was found.
    """
    stored = _load(path)
    if _is_model(stored):
        return stored["weights"], stored["card"]
    weights = _state_dict(stored, path)
    while all(name.startswith(PARALLEL) for name in weights):
        weights = {name.removeprefix(PARALLEL): tensor for name, tensor in weights.items()}
    return weights, None


def fit_weights(model: nn.Module, weights: dict, name):
    """Load existing weights, read from the file `name`, into `model`; see `check_weights`.

    `num_batches_tracked` may be missing: PyTorch before 0.4.1 did not store it, and no output depends on it.

    Raises
    ------
    ModelError : the weights are of another architecture, or contain NaN or infinity.
    """
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    weights = counters | weights
    check_weights(model, weights, name)
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"the weights in {name} contain NaN or infinity: {key}")
    model.load_state_dict(weights)


def _load(path):
    """The content of the file on the CPU. Only tensors and plain types are read, so no code is run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no such model file", file=path) from error
    except Exception as error:  # torch, pickle and zip each raise their own exceptions
        strange = re.search(r"GLOBAL ([\w.]+)", str(error))
        # The message of torch starts with advice to load the file unsafely.
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0] or type(error).__name__
        if strange:
            reason = (
                f"it holds {strange[1]}, but only tensors and plain types are read. If you trust its author, save its "
                "weights alone where it was created: torch.save(model.state_dict(), FILE)"
            )
        raise ModelError(f"{path} is not a model file that can be read, and was not run: {reason}") from error


def _is_model(stored):
    card, weights = (stored.get(part) if isinstance(stored, dict) else None for part in ("card", "weights"))
    return isinstance(card, dict) and all(key in card for key in NEEDED) and _is_state_dict(weights)


def _is_state_dict(thing):
    return isinstance(thing, dict) and bool(thing) and all(isinstance(value, torch.Tensor) for value in thing.values())


def _read(path):
    """The dict that `save_model` wrote."""
    stored = _load(path)
    if not _is_model(stored):
        raise ModelError(
            f"{path} is not a model file of voxelwhy: it needs weights and a card with {', '.join(NEEDED)}"
        )
    return stored


def _state_dict(stored, path):
    """The state dict in the content of a file, directly or within a checkpoint."""
    for _ in range(1 + len(NESTED)):  # not deeper, because a dict may contain itself
        if _is_state_dict(stored):
            return {str(name): tensor for name, tensor in stored.items()}
        inside = [name for name in NESTED if isinstance(stored, dict) and isinstance(stored.get(name), dict)]
        if not inside:
            break
        stored = stored[inside[0]]
    found = type(stored).__name__
    if isinstance(stored, dict):
        kinds = [f"{key}: {type(value).__name__}" for key, value in list(stored.items())[:LISTED]]
        found = f"a dict of {{{', '.join(kinds)}{', …' if len(stored) > LISTED else ''}}}"
    raise ModelError(
        f"{path} holds no state dict: found {found}; expected a dict of layer names and tensors, directly or under "
        f"{', '.join(NESTED)}"
    )


def check_weights(model: nn.Module, weights: dict, name):
    """Raise ModelError, naming the differing layers and both shapes, unless `weights` fit `model`."""
    there, here = ({key: tuple(t.shape) for key, t in which.items()} for which in (weights, model.state_dict()))
    differ = [key for key in here if key in there and there[key] != here[key]]
    faults = [
        *_listed([f"{key} is {there[key]} there, {here[key]} in the network" for key in differ]),
        *_listed(
            [f"{key} is missing there, {shape} in the network" for key, shape in here.items() if key not in there]
        ),
        *_listed(
            [f"{key} is {shape} there, missing in the network" for key, shape in there.items() if key not in here]
        ),
    ]
    if not faults:
        return
    if len(faults) == len(differ) == 1 and _same_but_for_inputs(there[differ[0]], here[differ[0]]):
        faults.append(
            "this number of inputs depends on the grid: were the weights trained at another resolution or crop?"
        )
    lines = "".join(f"\n  {fault}" for fault in faults)
    raise ModelError(f"the weights in {name} are of another architecture:{lines}")


def _listed(faults):
    """The first faults, and the number of further ones."""
    more = len(faults) - LISTED
    return faults[:LISTED] + ([f"and {more} more of this kind"] if more > 0 else [])


def _same_but_for_inputs(first, second):
    """Whether two shapes belong to dense layers that differ only in their number of inputs."""
    return len(first) == len(second) == 2 and first[0] == second[0]


def hash_weights(model: nn.Module) -> str:
    """SHA-256 (hex) of the weights and buffers, in the order of their names; independent of device and file."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
