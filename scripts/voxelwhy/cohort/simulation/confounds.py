"""Confounds: differences between patients and controls of a simulated cohort other than the disease, and their size.

A confound follows the diagnosis in the table at each visit, because it concerns how a subject was scanned. Scans with
diagnosis Dementia have it, including those of a converter from the conversion on, and scans of MCI do not. The
confound of age concerns the person, so converters do not have it. A confound is added to the usual random draws and
draws nothing itself, so that the scans of controls are the same with and without it (except for the confound of age,
see `plan.age_range`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.errors import ConfigError
from voxelwhy.io.text import listing

#: Each confound by its setting below simulation.confounds: its unit, and the manifest column with its measured value.
CONFOUNDS = {
    "head_position.pitch_deg": ("degrees", "pitch_deg"),
    "head_position.shift_mm": ("mm", "shift_mm"),
    "bias_field": ("logarithm of intensity", "bias_gradient"),
    "age": ("years", "age"),
    "noise": ("relative to the controls' SD", "noise_sd"),
}
#: Columns of the manifest that are measured while a scan is made.
MEASURED = ("pitch_deg", "shift_mm", "bias_gradient", "noise_sd")
PATIENTS = "Dementia"
SIDES = {"patients": PATIENTS, "controls": "CN"}


def strength_of(settings, name):
    """The configured strength of a confound (a key of CONFOUNDS)."""
    value = settings["confounds"]
    for key in name.split("."):
        value = value[key]
    return float(value)


def planted_in(settings, row):
    """Return the strength of each confound in one scan: 0 unless its diagnosis is Dementia."""
    return {name: strength_of(settings, name) if row["DX"] == PATIENTS else 0.0 for name in CONFOUNDS}


def gradient(shape):
    """The logarithm of the planted bias field at strength 1, (1, 1, nz): half a cosine along the scanner's axis.

    Its root mean square over the field of view is 1. It is bright at the end of the feet and dark at the other.
    """
    n = shape[2]
    return (np.sqrt(2) * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)[None, None]


def measure_gradient(log_field):
    """The part of a bias field's logarithm that is the planted gradient: its strength if nothing else is added."""
    return float((log_field * gradient(log_field.shape)).mean(dtype=np.float64))


def measure_position(affine, centre_mm):
    """Pitch (degrees) and shift along the scanner's axis (mm) of a head from its affine, template mm → scanner mm."""
    turn = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    pitch = np.rad2deg(np.arctan2(turn[2, 1], turn[2, 2]))
    return float(pitch), float(affine[2, :3] @ np.asarray(centre_mm) + affine[2, 3])


def moves_heads(settings):
    """Whether the settings include a confound of head position."""
    return any(strength_of(settings, name) for name in CONFOUNDS if name.startswith("head_position."))


def require_in_view(plan, reaches, view_mm, settings, *, clearance_mm):
    """Raise ConfigError if a confound of head position moves a patient's brain out of the field of view.

    Parameters
    ----------
    plan : DataFrame of `plan_cohort`, only the rows of patients
    reaches : iterable of (3,) arrays, one per row: how far the brain reaches from the isocentre along each axis, mm
    view_mm : (3,), the field of view, centred on the isocentre
    clearance_mm : float, the free space required around a brain
    """
    beyond = [float((reach + clearance_mm - np.asarray(view_mm) / 2).max()) for reach in reaches]
    if not beyond or max(beyond) <= 0:
        return
    worst = plan.iloc[int(np.argmax(beyond))]
    head = settings["confounds"]["head_position"]
    raise ConfigError(
        "simulation.confounds.head_position moves a brain out of the field of view",
        found=f"pitch {head['pitch_deg']:g} degrees, shift {head['shift_mm']:g} mm: {worst['PTID']}/{worst['Visit']} "
        f"may reach {max(beyond):.1f} mm beyond",
        allowed=f"brains within {' x '.join(f'{edge:g}' for edge in view_mm)} mm, with {clearance_mm:g} mm to spare",
        hint="reduce it, or lower simulation.head.shift_mm and rotation_deg",
    )


def confound_table(settings, manifest):
    """The measured size of each confound by the schema CONFOUNDS; those not planted show whether groups are balanced.

    Parameters
    ----------
    settings : dict, the section `simulation`
    manifest : DataFrame of the cohort's scans; only Dementia and CN scans (small and large ones, if the volume of a
        structure defines the classes) with a complete file count
    """
    whole = manifest[manifest["state"] == "complete"]
    classes = {"patients": "small", "controls": "large"} if settings.get("signal") else SIDES
    rows = []
    for name, (unit, column) in CONFOUNDS.items():
        row = {"confound": name, "strength": strength_of(settings, name), "unit": unit, "measured": column}
        sides = {side: whole.loc[whole["DX"] == dx, column] for side, dx in classes.items()}
        for side, values in sides.items():
            row |= {f"{side}_mean": values.mean(), f"{side}_sd": values.std(), f"{side}_scans": len(values)}
        difference = row["patients_mean"] - row["controls_mean"]
        rows.append(row | {"difference": difference, "cohens_d": _standardised(difference, sides.values())})
    return pd.DataFrame(rows)


def _standardised(difference, sides):
    """Cohen's d with the pooled standard deviation; NaN if nothing varies beyond rounding."""
    freedom = sum(len(values) - 1 for values in sides)
    if freedom < 1 or any(not len(values) for values in sides):
        return np.nan
    pooled = np.sqrt(sum(((values - values.mean()) ** 2).sum() for values in sides) / freedom)
    scale = max(np.abs(values).max() for values in sides)
    return difference / pooled if pooled > 1e-9 * max(scale, 1e-9) else np.nan


#: How each confound changes the data of patients, in words, as a function of its strength.
CONFOUND_WORDS = {
    "head_position.pitch_deg": lambda x: f"heads pitched by {abs(x):g}° (chin {'up' if x > 0 else 'down'})",
    "head_position.shift_mm": lambda x: (
        f"heads {abs(x):g} mm {'farther from' if x > 0 else 'nearer to'} the feet's end"
    ),
    "bias_field": lambda x: f"scans brighter towards the {'feet' if x > 0 else 'crown'} (bias field {abs(x):g})",
    "age": lambda x: f"{abs(x):g} years {'more' if x > 0 else 'less'} of age",
    "noise": lambda x: f"{abs(100 * x):g} % {'more' if x > 0 else 'less'} noise",
}


def describe_confounds(confounds):
    """Describe the confounds that were planted in addition to the disease, with their strengths; "" for none.

    Parameters
    ----------
    confounds : dict, the section simulation.confounds, or strengths by dotted name as in simulation/confounds.tsv
    """
    head = confounds.get("head_position", {})
    strengths = {f"head_position.{key}": value for key, value in head.items()} | confounds
    words = [how(x) for name, how in CONFOUND_WORDS.items() if (x := float(strengths.get(name, 0)))]
    planted = "a confound was planted" if len(words) == 1 else f"{len(words)} confounds were planted"
    return f"{planted}: patients have {listing(words)}" if words else ""
