"""Numbers of the embedded cohort that a study rarely changes: anatomy, ageing, disease and scanner, with their sources.

A config may set any of them under the same name in its section `simulation`; workflow/schemas/config.schema.yaml
describes each and its range. Values that come neither from the literature nor from a measurement are marked
"assumption".
"""

from __future__ import annotations

import copy

from voxelwhy.config.settings import load_settings

#: Severity: the share of the planted change that a patient has; 1 is all of it.
SEVERITY = {
    "spread": 0.5,  # standard deviation over patients (gamma, mean 1): gives AD hippocampi a CV of 18 %, PMC3185127
    "lowest": 0.2,  # draws are clipped here; assumption
    "highest": 2.0,  # and here; assumption
    "mci": 0.4,  # share of the change in MCI: -11 % of -27 % in the hippocampus, -13 % of -39 % entorhinal, Du 2001
    # Growth per year in patients: (ln(1-0.0466) - ln(1-0.0141)) / ln(1-0.25), so that AD hippocampi lose 4.66 % a year,
    # PMC2773132.
    "per_year": 0.117,
}

#: Fluid takes up the lost volume, weighted by a Gaussian of this standard deviation, mm; assumption. With 8 mm, much of
#: the loss is taken up within the labels of the atlas that scores it: where 25 % are planted, Neuromorphometrics sees
#: hippocampi smaller by 13 %, with 14 mm by 15 to 16 %.
FLUID_REACH_MM = 14

#: The planted disease. `labels`: HCPEx names without _L and _R. `change`: relative change of volume at severity 1.
REGIONS = {
    "hippocampus": {
        "labels": ["Hippocampus"],
        "change": -0.25,
        "source": "-27 % Du 2001, -24 % Klein-Koerkamp 2014, -22 % PMC7391934",
    },
    "amygdala": {
        "labels": ["Amygdala"],
        "change": -0.24,
        "source": "-24 % Klein-Koerkamp 2014",
    },
    "entorhinal": {
        "labels": ["Entorhinal_Cortex"],
        "change": -0.39,
        "source": "-39 % Du 2001",
    },
    "parahippocampal": {
        "labels": [
            "PreSubiculum",
            "Perirhinal_Ectorhinal_Cortex",
            "ParaHippocampal_Area_1",
            "ParaHippocampal_Area_2",
            "ParaHippocampal_Area_3",
        ],
        "change": -0.20,
        "source": "assumption; site from VBM, PMC4381413",
    },
    "inferior_middle_temporal": {
        "labels": [
            "Area_TE1_anterior",
            "Area_TE1_Middle",
            "Area_TE1_posterior",
            "Area_TE2_anterior",
            "Area_TE2_posterior",
        ],
        "change": -0.12,
        "source": "assumption, after cortical thickness -11.7 %, PMC7391934",
    },
    "posterior_cingulate": {
        "labels": [
            "Area_23d",
            "Area_31a",
            "Area_dorsal_23_a+b",
            "Area_ventral_23_a+b",
            "RetroSplenial_Complex",
        ],
        "change": -0.12,
        "source": "assumption; site from VBM, PMC4381413; size after cortical thickness -11.7 %, PMC7391934",
    },
    "precuneus": {
        "labels": ["Area_7m", "Area_31pd", "Area_31p_ventral", "PreCuneus_Visual_Area"],
        "change": -0.12,
        "source": "assumption, after cortical thickness -11.7 %, PMC7391934",
    },
}

#: Variation between healthy people of the same age, as coefficient of variation (log-normal).
NORMAL = {
    "hippocampus_labels": ["Hippocampus"],  # HCPEx names without _L and _R
    "hippocampus_spread": 0.10,  # NiChart centiles
    "ventricles_spread": 0.49,  # NiChart centiles; skewed
}

#: Age at the scan, years; most lie between 67 and 82 (assumption).
AGE = {"lowest": 55, "highest": 90}

#: Relative change of volume per year without the disease.
AGEING = {
    "reference_age": 70,  # age at which the template's brain is the median one, years; assumption
    "tissue_per_year": -0.0045,  # all grey and white matter, Fotenos 2005
    "hippocampus_per_year": -0.0056,  # between people of different ages, NiChart medians 3783 (60 years) and 3284 (85)
    "hippocampus_per_year_within": -0.0141,  # within a person from visit to visit, controls, PMC2773132
    "ventricles_per_year": 0.0324,  # NiChart medians 21083 (60 years) and 46784 (85)
}

#: Individual anatomy: the flow of a smooth random velocity field; assumption.
ANATOMY = {
    "coarse_mm": 16,  # smoothness of the coarse part, standard deviation of the Gaussian, mm
    "coarse_rms_mm": 3,  # root mean square length of the vectors, mm
    "fine_mm": 8,  # the same for the fine part
    "fine_rms_mm": 1.5,
}

#: Size of a person's head, and its position in a scan; all assumptions.
HEAD = {
    # Standard deviation of the logarithm of head size along an axis; all three axes share two thirds of its variance.
    "size_spread": 0.03,
    "sex_difference": 0.04,  # how much longer men's heads are along each axis, relative
    "rotation_deg": 4,  # standard deviation about each axis, degrees, clipped at 2.5 standard deviations
    "shift_mm": 4,  # standard deviation along each axis, mm, clipped at 2.5 standard deviations
}

#: What the scanner adds; all assumptions.
INTENSITY = {
    "white_matter": 600,  # median intensity of white matter before gain
    "gain_spread": 0.15,  # standard deviation of the logarithm of a scan's gain
    "bias_rms": 0.02,  # root mean square of the logarithm of the bias field that N3 leaves
    "noise": 0.03,  # standard deviation of the noise in each channel, relative to white matter
}

#: Sections in which a config may set single keys. `regions` is not one: a config replaces all regions.
SECTIONS = {
    "severity": SEVERITY,
    "normal": NORMAL,
    "age": AGE,
    "ageing": AGEING,
    "anatomy": ANATOMY,
    "head": HEAD,
    "intensity": INTENSITY,
}
CONSTANTS = {**SECTIONS, "regions": REGIONS, "fluid_reach_mm": FLUID_REACH_MM}


def load_study(config, schema_path):
    """Check and complete the config of a study with `load_settings`, after adding the constants that it omits."""
    return load_settings(fill_constants(config), schema_path)


def fill_constants(config):
    """Add to the section `simulation` of a config every constant that it does not set.

    Parameters
    ----------
    config : dict, as loaded from YAML and before `load_settings`; it is not changed

    Returns
    -------
    config : dict; the same object if nothing is simulated, or if `simulation` is not a section (the schema refuses
        that, and every value that is not allowed)
    """
    if not isinstance(config, dict) or not isinstance(config.get("simulation", ""), dict | None):
        return config
    given = config["simulation"] or {}
    filled = copy.deepcopy(CONSTANTS) | given
    for name in SECTIONS:
        own = given.get(name)
        if own is None:
            filled[name] = copy.deepcopy(SECTIONS[name])
        elif isinstance(own, dict):
            filled[name] = copy.deepcopy(SECTIONS[name]) | own
    return config | {"simulation": filled}
