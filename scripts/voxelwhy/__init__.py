"""Why did the network say so, voxel by voxel.

The explanation methods are imported on use: `from voxelwhy import occlusion` loads torch, and no workflow.
"""

import importlib

from voxelwhy.registry import METHODS

__version__ = "0.1.0"

_EXPORTS = {**METHODS}
__all__ = ["__version__", *_EXPORTS]


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'voxelwhy' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
