"""The network that is trained if a config names none, and the training settings whose defaults depend on it."""

from __future__ import annotations

#: Voxel edge in mm above which the network is COARSE_NETWORK if the config does not name one. The schema's default, the
#: paper's network, needs 78 voxels along each axis; grids of 2 mm have them, those of 3 mm do not.
FINE_MM = 2
COARSE_NETWORK = "compact"
#: Edge of the cells that the network `compact` begins with, mm, to the nearest whole number of voxels.
POOLED_MM = 7
#: Values of section `training` by network, for settings that the config does not give. Where a network is not listed,
#: or a setting not listed with it, the schema's default applies, which is that of Rieke et al. 2018.
RECIPES = {
    # Chosen on simulated cohorts at 4 mm with other seeds than the embedded one.
    "compact": {
        "crop": "brain",  # the paper: none, the whole grid, which is two to three times the work
        "normalisation": "scan",  # the paper: voxelwise, for which the mean and SD of each voxel need more scans
        "optimiser": "adamw",  # the paper: adam
        "schedule": "one_cycle",  # the paper: constant
        "learning_rate": 0.002,  # the highest of the cycle; the paper: 0.0001 throughout
        "weight_decay": 0.05,  # the paper: none
        "batch_size": 8,  # the paper: 5
        "epochs": 40,  # the paper: 20; an epoch of this network takes a sixth of the time
        "dropout": 0.5,  # the paper: 0.8, before a dense layer with more inputs
    },
    # Dropout of the papers that describe the networks.
    "korolev2017": {"dropout": 0.7},
    "small_dataset": {"dropout": 0},
    "sfcn": {"dropout": 0.5},
    "resnet18": {"dropout": 0},
    "densenet121": {"dropout": 0},
}


def place_recipe(settings, given):
    """Replace the schema's defaults of section `training` by those of the network and the resolution.

    Parameters
    ----------
    settings : dict, completed by the schema, without a network if `model.architecture` names one; changed in place
    given : dict, the section `training` of the config itself; all its values are kept
    """
    training = settings["training"]
    if "network" not in training:
        return
    resolution = settings["registration"]["resolution_mm"]
    if "network" not in given and resolution > FINE_MM:
        training["network"] = COARSE_NETWORK
    recipe = RECIPES.get(training["network"], {})
    training |= {key: value for key, value in recipe.items() if key not in given}
    if training["network"] == "compact":
        training.setdefault("first_pool", max(1, round(POOLED_MM / resolution)))
