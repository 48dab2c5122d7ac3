"""The settings of a simulated cohort that takes a second."""

from __future__ import annotations

import copy

SETTINGS = {
    "resolution_mm": 4,
    "working_mm": 4,
    "subjects": {"CN": 2, "Dementia": 2, "MCI": 1, "converter": 1},
    "visits": [["Screening", "Screening"], ["Screening", "Month 12"]],
    "missing_files": ["999_S_0005/Month12"],
    "truncated_files": ["999_S_0006/Month 12"],
    "effect": 1,
    "severity": {"spread": 0.5, "lowest": 0.2, "highest": 2.0, "mci": 0.4, "per_year": 0.117},
    "fluid_reach_mm": 8,
    "regions": {
        "hippocampus": {"labels": ["Hippocampus"], "change": -0.25, "source": "Klein-Koerkamp 2014"},
        "entorhinal": {"labels": ["Entorhinal_Cortex"], "change": -0.39, "source": "Du 2001"},
        "precuneus": {
            "labels": ["Area_7m", "Area_31pd", "PreCuneus_Visual_Area"],
            "change": -0.12,
            "source": "assumption",
        },
    },
    "normal": {"hippocampus_labels": ["Hippocampus"], "hippocampus_spread": 0.10, "ventricles_spread": 0.49},
    "age": {"lowest": 55, "highest": 90},
    "ageing": {
        "reference_age": 70,
        "tissue_per_year": -0.0045,
        "hippocampus_per_year": -0.0056,
        "hippocampus_per_year_within": -0.0141,
        "ventricles_per_year": 0.0324,
    },
    "anatomy": {"coarse_mm": 16, "coarse_rms_mm": 3, "fine_mm": 8, "fine_rms_mm": 1.5},
    "head": {"size_spread": 0.03, "sex_difference": 0.04, "rotation_deg": 4, "shift_mm": 4},
    "intensity": {"white_matter": 600, "gain_spread": 0.15, "bias_rms": 0.02, "noise": 0.03},
    "confounds": {"head_position": {"pitch_deg": 0, "shift_mm": 0}, "bias_field": 0, "age": 0, "noise": 0},
}


def settings(**changes):
    return copy.deepcopy(SETTINGS) | changes
