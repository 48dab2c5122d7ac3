"""The settings of a simulated cohort that takes a second."""

from __future__ import annotations

import copy

from voxelwhy.cohort.simulation.constants import CONSTANTS

SETTINGS = copy.deepcopy(CONSTANTS) | {
    "resolution_mm": 4,
    "working_mm": 4,
    "subjects": {"CN": 2, "Dementia": 2, "MCI": 1, "converter": 1},
    "visits": [["Screening", "Screening"], ["Screening", "Month 12"]],
    "missing_files": ["999_S_0005/Month12"],
    "truncated_files": ["999_S_0006/Month 12"],
    "effect": 1,
    "contrast": 0,
    "regions": {
        "hippocampus": {"labels": ["Hippocampus"], "change": -0.25, "source": "Klein-Koerkamp 2014"},
        "entorhinal": {"labels": ["Entorhinal_Cortex"], "change": -0.39, "source": "Du 2001"},
        "precuneus": {
            "labels": ["Area_7m", "Area_31pd", "PreCuneus_Visual_Area"],
            "change": -0.12,
            "source": "assumption",
        },
    },
    "confounds": {"head_position": {"pitch_deg": 0, "shift_mm": 0}, "bias_field": 0, "age": 0, "noise": 0},
}


def settings(**changes):
    return copy.deepcopy(SETTINGS) | changes
