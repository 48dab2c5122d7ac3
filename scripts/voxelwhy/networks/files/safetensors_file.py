"""Trained networks as safetensors: weights, what describes them, and how a scan is prepared; loading runs no code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from voxelwhy.errors import ModelError, ShapeError
from voxelwhy.networks.build import build_network
from voxelwhy.networks.ensemble import one_model
from voxelwhy.networks.own_network import is_own
from voxelwhy.networks.weights import check_weights

#: Key of the card among the metadata of the file, and the beginning of the names of what prepares a scan.
CARD, PREPARATION = "voxelwhy", "preparation."


def save_safetensors(path, weights, card, mask):
    """Write a trained network as safetensors; the same values give the same bytes.

    Parameters
    ----------
    path : the file to write
    weights : dict of str to tensor, as in the model file of a study
    card : dict, as in the model file of a study; arrays of the normalisation are stored as tensors
    mask : 3-D bool array, the voxels of the study's grid that the network sees
    """
    from safetensors.torch import save

    normalisation = card["normalisation"]
    tensors = {name: torch.as_tensor(tensor).contiguous() for name, tensor in weights.items()}
    tensors[f"{PREPARATION}mask"] = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))
    for name in ("mean", "scale"):
        if normalisation.get(name) is not None:
            tensors[PREPARATION + name] = torch.as_tensor(np.array(normalisation[name], dtype=np.float32))
    # The file is for others: hashes of names of subjects, which model.pt has for the audit of leakage, stay out of it.
    described = {key: value for key, value in card.items() if key != "subjects_sha256"}
    described["normalisation"] = normalisation["kind"]
    # One entry: safetensors writes several in random order.
    metadata = {CARD: json.dumps(described, sort_keys=True)}
    Path(path).write_bytes(save(tensors, metadata))


def load_safetensors(path, *, own=None) -> nn.Module:
    """Read a network that `save_safetensors` wrote, in eval mode on the CPU.

    Parameters
    ----------
    path : the file
    own : `module:factory` of your own network, if the file may contain that one; its code is then imported

    Returns
    -------
    network : torch.nn.Module; `network.card` describes it, and `network.prepare(scan)` makes its input of a scan on the
        grid of the study

    Raises
    ------
    ModelError : safetensors is not installed, the file is another one, its weights do not fit the network, or its
        network is a user's own that `own` does not name.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise ModelError(f"{path} is read by safetensors, which is not installed: pip install safetensors") from error
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file that can be read: {error}") from error
    if CARD not in metadata:
        raise ModelError(f"{path} has weights and no network: its metadata lack the card of a voxelwhy study")
    card = json.loads(metadata[CARD])
    if is_own(card["network"]) and card["network"] != own:
        raise ModelError(
            f"{path} is a model of the network {card['network']}, whose code is not in the file. If you have that code "
            f"and trust it: load_safetensors(path, own={card['network']!r})"
        )
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREPARATION)}
    with torch.random.fork_rng(devices=[]):  # these initial values are replaced and must not use up the caller's seed
        how = {"image_channels": len(card.get("channels", ("t1",))), **card["options"]}
        members = [build_network(card["network"], card["spatial_shape"], **how) for _ in range(card.get("seeds", 1))]
        network = one_model(members)
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    network.card = card
    network.prepare = Preparation(card, {n: tensors.get(PREPARATION + n) for n in ("mask", "mean", "scale")})
    return network.eval()


class Preparation:
    """Makes the input of a network of a registered scan, as in its training: masked, cropped, normalised.

    Parameters
    ----------
    card : dict, the card of the model
    tensors : {"mask", "mean", "scale"}, the last two None if the normalisation has none
    """

    def __init__(self, card, tensors):
        self.kind, self.channels = card["normalisation"], list(card.get("channels", ("t1",)))
        self.affine = np.asarray(card["affine"], dtype=float)
        mask = tensors["mask"].numpy() > 0
        self.grid = mask.shape
        self.box = tuple(slice(None) for _ in range(3))
        if card["crop"] == "brain":
            self.box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(mask))
        self.mask = mask[self.box]
        self.mean, self.scale = (None if tensors[name] is None else tensors[name].numpy() for name in ("mean", "scale"))

    def __call__(self, *images):
        """Return the input of the network for one scan, float32, (channels, x, y, z).

        Parameters
        ----------
        images : one image for each channel of the network, in the order of `channels`: paths of NIfTI files, nibabel
            images, or arrays (x, y, z) on the grid of the study

        Raises
        ------
        ShapeError : another number of images, or an image on another grid.
        """
        if len(images) != len(self.channels):
            raise ShapeError(f"the network has the channels {', '.join(self.channels)}: found {len(images)} image(s)")
        volume = np.stack([np.where(self.mask, self._read(image)[self.box], 0) for image in images]).astype(np.float32)
        if self.kind == "scan":
            return np.stack([self._standardised(channel) for channel in volume])
        if self.mean is not None:
            volume = volume - self.mean
        return volume if self.scale is None else volume * self.scale

    def _read(self, image):
        if isinstance(image, str | Path):
            import nibabel

            image = nibabel.load(image)
        affine = getattr(image, "affine", self.affine)
        values = np.asarray(image.get_fdata(dtype=np.float32) if hasattr(image, "get_fdata") else image, np.float32)
        if values.shape != self.grid or not np.allclose(affine, self.affine, atol=1e-3):
            raise ShapeError(
                f"the scan is not on the grid of the study: found {values.shape} voxels from "
                f"{np.round(affine[:3, 3], 2).tolist()} mm on; expected {self.grid} from "
                f"{np.round(self.affine[:3, 3], 2).tolist()} mm on. Register it as the study does"
            )
        return values

    def _standardised(self, channel):
        inside = channel[self.mask]
        return np.where(self.mask, (channel - inside.mean()) / max(inside.std(), 1e-6), 0).astype(np.float32)
