"""Explain the decisions of 3D networks on brain scans, voxel by voxel.

The explanation methods are imported on use: `from voxelwhy import occlusion` loads torch, but nothing of the workflow.
"""

import importlib

from voxelwhy.registry import METHODS, REGION_METHODS

__version__ = "0.1.0"

_LOADERS = {
    "load_network": "voxelwhy.networks.files.load_network",
    "load_onnx": "voxelwhy.networks.files.onnx_import",
    "load_torchscript": "voxelwhy.networks.files.torchscript",
    "load_exported": "voxelwhy.networks.files.exported",
}
_PICTURES = {
    "plot_slices": "voxelwhy.explain.plotting.slices",
    "animate_slices": "voxelwhy.explain.plotting.slices",
    "average_over_dataset": "voxelwhy.explain.plotting.averages",
    "heatmap_distance": "voxelwhy.explain.plotting.averages",
}
_EXPORTS = METHODS | REGION_METHODS | {"by_slice": "voxelwhy.explain.by_slice"} | _PICTURES | _LOADERS
__all__ = ["__version__", *_EXPORTS]


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'voxelwhy' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
