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

#: Fluid takes up the lost volume, weighted by a Gaussian of this standard deviation, mm; assumption. With less, more of
#: the loss is taken up within the labels of the atlas that scores it (docs/workflow/embedded_cohort.md).
FLUID_REACH_MM = 14

#: The planted disease. `labels`: HCPEx names without _L and _R, or a fluid of the template (anatomy.FLUIDS). `change`:
#: relative change of volume at severity 1. "calibrated": chosen so that the scans show the published change in the
#: atlas that scores them, which draws each structure differently (`make cohort-check`); cohorts: effect_sizes.PUBLISHED
#: `system`: see SUBTYPES.
REGIONS = {
    "hippocampus": {
        "labels": ["Hippocampus"],
        "change": -0.25,
        "system": "limbic",
        "source": "calibrated to -17.3 %, ADNI; -27 % Du 2001, -24 % Klein-Koerkamp 2014, -22 % PMC7391934",
    },
    "amygdala": {
        "labels": ["Amygdala"],
        "change": -0.2,
        "system": "limbic",
        "source": "calibrated to -19.5 %, ADNI; -24 % Klein-Koerkamp 2014",
    },
    "entorhinal": {
        "labels": ["Entorhinal_Cortex"],
        "change": -0.185,
        "system": "limbic",
        "source": "calibrated to -15.5 % parahippocampal, NiChart, with which it overlaps in the scoring atlas",
    },
    "perirhinal": {
        "labels": ["Perirhinal_Ectorhinal_Cortex", "Pirform_Cortex"],
        "change": -0.22,
        "system": "limbic",
        "source": "calibrated to -25 % entorhinal, NiChart, with which it overlaps in the scoring atlas",
    },
    "parahippocampal": {
        "labels": ["PreSubiculum", "ParaHippocampal_Area_1", "ParaHippocampal_Area_2", "ParaHippocampal_Area_3"],
        "change": -0.123,
        "system": "limbic",
        "source": "calibrated to -15.5 %, NiChart",
    },
    "temporal_horn": {
        "labels": ["Temporal_Horn"],
        "change": 0.56,
        "system": "limbic",
        "source": "calibrated to +67 %, ADNI",
    },
    "inferior_temporal": {
        "labels": ["Area_TE2_anterior", "Area_TE2_posterior", "Area_TF", "Area_TG_Ventral"],
        "change": -0.16,
        "system": "cortical",
        "source": "calibrated to -13.8 %, NiChart",
    },
    "middle_temporal": {
        "labels": [
            "Area_TE1_anterior",
            "Area_TE1_Middle",
            "Area_TE1_posterior",
            "Area_STSv_anterior",
            "Area_STSv_posterior",
            "Area_PHT",
        ],
        "change": -0.17,
        "system": "cortical",
        "source": "calibrated to -14.2 %, NiChart",
    },
    "precuneus": {
        "labels": [
            "Area_7m",
            "Area_31pd",
            "PreCuneus_Visual_Area",
            "Parieto-Occipital_Sulcus_Area_1",
            "Parieto-Occipital_Sulcus_Area_2",
            "Medial_Area_7A",
            "Medial_Area_7P",
        ],
        "change": -0.197,
        "system": "cortical",
        "source": "calibrated to -13.7 %, NiChart",
    },
    "posterior_cingulate": {
        "labels": [
            "RetroSplenial_Complex",
            "Area_dorsal_23_a+b",
            "Area_ventral_23_a+b",
            "Area_31a",
            "Area_31p_ventral",
            "Area_23d",
        ],
        "change": -0.118,
        "system": "cortical",
        "source": "calibrated to -9.1 %, NiChart",
    },
    "precentral": {
        "labels": [
            "Primary_Motor_Cortex",
            "Dorsal_area_6",
            "Rostral_Area_6",
            "Ventral_Area_6",
            "Frontal_Eye_Fields",
            "Area_55b",
        ],
        "change": -0.054,
        "system": "cortical",
        "source": "calibrated to -4.0 %, NiChart",
    },
    "ventricles": {
        "labels": ["Ventricles"],
        "change": 0.61,
        "system": "cortical",
        "source": "calibrated to +41 %, ADNI",
    },
}

#: Subtypes of the disease: share of the subjects, and the multiple of the planted logarithm of volume that a subject of
#: the subtype has in the regions of each system. Shares: 665 typical, 127 limbic-predominant and 97 hippocampal-sparing
#: cases of 889, Murray 2011 (PMC3175379). Multiples: assumption. `typical: {share: 1, limbic: 1, cortical: 1}` alone,
#: with an asymmetry of 0, gives a disease that is one symmetric field times a severity.
SUBTYPES = {
    "typical": {"share": 0.75, "limbic": 1.0, "cortical": 1.0},
    "limbic": {"share": 0.14, "limbic": 1.2, "cortical": 0.6},
    "cortical": {"share": 0.11, "limbic": 0.6, "cortical": 1.2},
}

#: How much more the left side loses than planted, and the right side less, relative to the logarithm of volume. With
#: Alzheimer's disease, hippocampi are smaller by 24.2 % on the left and 23.1 % on the right, Shi 2009 (Hippocampus
#: 19:1055): (ln(1-0.242) - ln(1-0.231)) / (ln(1-0.242) + ln(1-0.231)).
ASYMMETRY = 0.027

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

#: Individual anatomy: the flow of a smooth random velocity field. Smoothness: assumption. Sizes: calibrated (make
#: cohort-check), so that regional volumes of people vary as Cohen's d and percent of published cohorts imply.
ANATOMY = {
    "coarse_mm": 32,  # smoothness of the coarse part, standard deviation of the Gaussian, mm
    "coarse_rms_mm": 3.4,  # root mean square length of the vectors, mm
    "fine_mm": 8,  # the same for the fine part
    "fine_rms_mm": 1.0,
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
CONSTANTS = {
    **SECTIONS,
    "regions": REGIONS,
    "subtypes": SUBTYPES,
    "asymmetry": ASYMMETRY,
    "fluid_reach_mm": FLUID_REACH_MM,
}


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
