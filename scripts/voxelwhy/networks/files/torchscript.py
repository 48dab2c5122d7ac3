"""Networks from TorchScript files."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from voxelwhy.errors import InputError, ModelError

#: Operators that behave differently in training mode, and the input that sets the mode.
TRAINED = {
    "aten::dropout": 2,
    "aten::dropout_": 2,
    "aten::feature_dropout": 2,
    "aten::alpha_dropout": 2,
    "aten::feature_alpha_dropout": 2,
    "aten::batch_norm": 5,
}


def load_torchscript(path) -> torch.jit.ScriptModule:
    """Read a network from a TorchScript file (`torch.jit.save`), traced, scripted or frozen, in eval mode on the CPU.

    Its code can be run and differentiated, but its operators cannot be accessed. The gradient methods work, and
    occlusion runs the whole network for each window. Guided backpropagation, LRP and the Grad-CAM methods need the
    operators and refuse it. PyTorch is phasing out TorchScript; torch.export and ONNX files do not have these limits.

    Raises
    ------
    InputError : the file does not exist.
    ModelError : the file is not a TorchScript file, or the network was traced in training mode.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import load_torchscript, occlusion
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6**2, 2)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.jit.trace(network, torch.zeros(1, 1, 8, 8)).save(f"{folder}/network.ts")
    ...     loaded = load_torchscript(f"{folder}/network.ts")
    >>> image = torch.randn(8, 8)
    >>> maps = [occlusion(one, image, size=4, stride=2) for one in (network, loaded)]
    >>> bool(abs(maps[0] - maps[1]).max() < 1e-6)
    True
    """
    if not Path(path).is_file():
        raise InputError("there is no such model file", file=path)
    with warnings.catch_warnings():
        # The deprecation of TorchScript concerns those who write such files.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            model = torch.jit.load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelError(f"{path} is not a TorchScript file: {str(error).partition('.')[0]}") from error
    graph = model.inlined_graph  # keeps its nodes alive
    for kind, number in TRAINED.items():
        for node in graph.findAllNodes(kind):
            if node.inputsAt(number).toIValue() is True:
                raise ModelError(
                    f"{path} was made of a network in training mode ({kind.removeprefix('aten::')}), and stays in it: "
                    "call model.eval() before torch.jit.trace or torch.jit.freeze"
                )
    return model
