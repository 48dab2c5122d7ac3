"""Names that a config can use, and the module behind each; modules are imported on use, so none loads the others."""

from __future__ import annotations

import difflib
import importlib

from voxelwhy.errors import ConfigError

METHODS = {
    name: f"voxelwhy.explain.{name}"
    for name in (
        "sensitivity_analysis",
        "guided_backprop",
        "occlusion",
        "area_occlusion",
        "grad_cam",
        "input_x_gradient",
        "integrated_gradients",
        "smoothgrad",
        "lrp",
        "guided_grad_cam",
        "grad_cam_plusplus",
    )
}
#: Those whose result is one number for each region or step: functions of the package, not methods of a study.
REGION_METHODS = {name: f"voxelwhy.explain.{name}" for name in ("region_shapley", "deletion_curve")}
NETWORKS = {
    name: f"voxelwhy.networks.{name}"
    for name in ("rieke2018", "compact", "small", "korolev2017", "small_dataset", "sfcn", "resnet18", "densenet121")
}
#: ANTs takes seconds to import, and scans that others have registered do not need it.
TRANSFORMS = {
    "none": "voxelwhy.registration.as_it_came",
    **dict.fromkeys(("rigid", "affine", "syn_quick", "syn_cc"), "voxelwhy.registration.register"),
}
SOURCES = {
    name: f"voxelwhy.cohort.readers.{name}"
    for name in ("adni_merged", "adni_collection", "bids", "caps", "oasis", "folder")
}


def load(table, name, kind):
    """Import the module of `name` from one of the tables above; `kind` names its kind in the error message."""
    if name not in table:
        near = difflib.get_close_matches(str(name), table, n=1)
        raise ConfigError(
            f"there is no {kind} of that name",
            found=name,
            allowed=list(table),
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return importlib.import_module(table[name])
