"""Read a network from any supported file format."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.files.exported import EXPORTED, archive_parts, load_exported
from voxelwhy.networks.files.onnx_import import load_onnx
from voxelwhy.networks.files.safetensors_file import load_safetensors
from voxelwhy.networks.files.torchscript import load_torchscript
from voxelwhy.networks.weights import load_model, read_weights

#: First bytes of pickles (torch.save before 1.6) and of HDF5 files (Keras).
PICKLE, HDF = b"\x80", b"\x89HDF\r\n\x1a\n"
KERAS = (
    "{path} is a model of Keras or TensorFlow: convert it to ONNX where it was created (python -m tf2onnx.convert, or "
    "model.export(FILE, format='onnx')), and load that file"
)


def load_network(path, *, logits=True, channels="auto") -> nn.Module:
    """Read a network from a file, in eval mode on the CPU, ready to be explained.

    The content of the file, not its name, determines the format: ONNX (`load_onnx`), TorchScript (`load_torchscript`),
    torch.export (`load_exported`), or a model trained by a voxelwhy study: `model.pt` (`load_model` also returns its
    card), or `model.safetensors`, which has a card and also prepares scans (`network.prepare`).

    Parameters
    ----------
    path : the file.
    logits, channels : for ONNX files, see `load_onnx`.

    Raises
    ------
    InputError : the file does not exist.
    ModelError : the file contains only weights without a network, is a Keras model, or has none of these formats; or as
        in the functions above.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import load_network, sensitivity_analysis
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6**2, 2)).eval()
    >>> program = torch.export.export(network, (torch.zeros(1, 1, 8, 8),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.export.save(program, f"{folder}/network.pt2")
    ...     loaded = load_network(f"{folder}/network.pt2")
    >>> image = torch.randn(8, 8)
    >>> bool(abs(sensitivity_analysis(network, image) - sensitivity_analysis(loaded, image)).max() < 1e-6)
    True
    """
    if not Path(path).exists():
        raise InputError("there is no such model file", file=path)
    kind = _kind(path)
    if kind == "keras":
        raise ModelError(KERAS.format(path=path))
    if kind == "weights":
        return _own_model(path)
    if kind == "safetensors":
        return load_safetensors(path)
    if kind == "onnx":
        return load_onnx(path, logits=logits, channels=channels)
    return load_exported(path) if kind == "exported" else load_torchscript(path)


def _kind(path):
    """The format of a file, from its first bytes or, for an archive, from the names of its parts."""
    if Path(path).is_dir():
        return "keras" if (Path(path) / "saved_model.pb").exists() else "onnx"
    if parts := archive_parts(path):
        in_archive = {"model.weights.h5": "keras", "constants.pkl": "torchscript"} | dict.fromkeys(EXPORTED, "exported")
        return next((kind for name, kind in in_archive.items() if name in parts), "weights")
    with open(path, "rb") as file:
        start = file.read(len(HDF) + 1)
    if start[8:] == b"{":  # the length of the header in eight bytes, then the header in JSON
        return "safetensors"
    start = start[:8]
    # ONNX files are protocol buffers, which have no characteristic first bytes.
    return "keras" if start == HDF else "weights" if start.startswith(PICKLE) else "onnx"


def _own_model(path):
    weights, card = read_weights(path)
    if card is None:
        raise ModelError(
            f"{path} holds {len(weights)} tensors of weights and no network: build the network in Python, then call "
            "its load_state_dict with torch.load(FILE, weights_only=True), and its eval()"
        )
    return load_model(path)[0]
