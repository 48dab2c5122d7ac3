"""Choose the device on which torch computes."""

from __future__ import annotations

import torch

from voxelwhy.errors import InputError


def pick_device(name="auto") -> torch.device:
    """The torch device named `auto` (the first CUDA device, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises
    ------
    InputError : this machine does not have that device.
    """
    devices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if isinstance(name, torch.device):
        name = str(name)
    if name == "auto":
        name = devices[1] if len(devices) > 1 else "cpu"
    if name == "cuda" and len(devices) > 1:
        name = f"cuda:{torch.cuda.current_device()}"
    if name not in devices:
        raise InputError("this machine has no such device", found=name, allowed=["auto", *devices])
    return torch.device(name)
