"""Networks from torch.export files, without the limits of exported programs: they take any number of images."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import torch
from torch import nn

from voxelwhy.errors import InputError, ModelError, ShapeError

#: A torch.export archive contains one of these files; the second one before PyTorch 2.7.
EXPORTED = {"archive_format", "serialized_exported_program.json"}


class ExportedNetwork(nn.Module):
    """An exported program as a network in eval mode.

    It takes any number of images, even if the program was exported for one image or a fixed number: they run in batches
    of the program's own size, and the last batch is padded. This does not change the results, because in eval mode the
    images of a batch do not influence each other.
    """

    def __init__(self, program):
        super().__init__()
        self.shape, self.least, self.most = _takes(program)
        _check_eval(program)
        self.program = program.module()
        for module in self.modules():  # programs refuse eval() and always report training mode
            module.training = False

    def train(self, mode=True):
        """Does nothing for eval mode; raises ModelError for training mode, because programs cannot be trained."""
        if mode:
            raise ModelError("a network from torch.export is fixed: it cannot be trained")
        return self

    def forward(self, images):
        found, wanted = tuple(images.shape[1:]), self.shape[1:]
        if len(found) != len(wanted) or any(n not in (None, m) for n, m in zip(wanted, found, strict=True)):
            sizes = ", ".join("any" if length is None else str(length) for length in wanted)
            raise ShapeError(f"the program was exported for images of shape ({sizes}); found {found}")
        if (self.least == 1 and self.most == math.inf) or self.least <= len(images) <= self.most:
            return self._run(images)
        return torch.cat(
            [self._filled(part) for part in images.split(int(min(self.most, max(self.least, len(images)))))]
        )

    def _filled(self, images):
        missing = self.least - len(images)
        if missing <= 0:
            return self._run(images)
        return self._run(torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]))[: len(images)]

    def _run(self, images):
        try:
            return self.program(images)
        except AssertionError as error:  # raised by programs for shapes that they were not exported for
            raise ShapeError(f"the program cannot take images of shape {tuple(images.shape)}: {error}") from error


def load_exported(program) -> ExportedNetwork:
    """Read a network from a file of `torch.export.save` (.pt2), or convert an ExportedProgram.

    Parameters
    ----------
    program : path of the file, or a torch.export.ExportedProgram.

    Returns
    -------
    model : torch.nn.Module in eval mode that takes any number of images, whatever the program was exported for.

    Raises
    ------
    InputError : the file does not exist.
    ModelError : the file is not from `torch.export.save`, the program has several inputs or outputs, or it was exported
        in training mode.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import guided_backprop, load_exported
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6**2, 2)).eval()
    >>> loaded = load_exported(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)))
    >>> image = torch.randn(8, 8)
    >>> bool(abs(guided_backprop(network, image) - guided_backprop(loaded, image)).max() < 1e-6)
    True
    """
    if isinstance(program, torch.export.ExportedProgram):
        return ExportedNetwork(program)
    if not Path(program).is_file():
        raise InputError("there is no such model file", file=program)
    try:
        if not archive_parts(program) & EXPORTED:
            raise ValueError("torch.export itself prints pages about such a file")
        with open(program, "rb") as file:
            loaded = torch.export.load(file)
    except Exception as error:  # torch, zip and json each raise their own exceptions
        raise ModelError(f"{program} is not a torch.export file that can be read") from error
    return ExportedNetwork(loaded)


def archive_parts(path) -> set[str]:
    """Names of the files in an archive, without their folders; empty if the file is not an archive."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return {name.rpartition("/")[2] for name in archive.namelist()}


def _takes(program):
    """Shape of the images (None for a free axis), and the smallest and largest number of images per batch."""
    signature = program.graph_signature
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        raise ModelError(
            f"the program has {len(signature.user_inputs)} inputs and {len(signature.user_outputs)} outputs; a network "
            "that takes images and returns logits is expected"
        )
    image = next(node for node in program.graph.nodes if node.name == signature.user_inputs[0]).meta.get("val")
    if not isinstance(image, torch.Tensor) or image.ndim < 3:
        raise ModelError("the program does not take images: an input (n, channels, *spatial) is expected")
    shape = tuple(length if isinstance(length, int) else None for length in image.shape)
    if shape[0] is not None:
        return shape, shape[0], shape[0]
    limits = program.range_constraints.get(image.shape[0].node.expr)
    lower, upper = (1, math.inf) if limits is None else (int(limits.lower), float(limits.upper))
    # torch.export records a lower limit of 2 for any free axis, but such programs also take a single image.
    return shape, 1 if lower <= 2 else lower, upper


def _check_eval(program):
    """Raise ModelError if an operator of the program (dropout, normalisation) was exported in training mode."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for number, argument in enumerate(schema.arguments if schema else ()):
            given = node.args[number] if number < len(node.args) else node.kwargs.get(argument.name)
            if argument.name in ("train", "training") and given is True:
                raise ModelError(
                    f"the program was exported in training mode ({schema.name.removeprefix('aten::')}), and stays in "
                    "it: call model.eval() before torch.export.export"
                )
