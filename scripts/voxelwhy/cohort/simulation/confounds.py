"""Confounds: what tells patients from controls in a simulated cohort beside the disease, and how strong it came out.

A confound follows the diagnosis in the table at that visit: it is about who was scanned how. So the scans of Dementia
have it, a converter's from the visit on at which the diagnosis is Dementia, and those of MCI have none. That of age is
about the person, and a converter has none. Nothing is drawn for it: it is added on top of what everybody is drawn, so
that controls are the same scans with a confound and without (but for that of age, see `plan.age_range`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.errors import ConfigError
from voxelwhy.io.text import listing

#: Each confound by its setting below simulation.confounds: its unit, and the column of the manifest that measures it.
CONFOUNDS = {
    "head_position.pitch_deg": ("degrees", "pitch_deg"),
    "head_position.shift_mm": ("mm", "shift_mm"),
    "bias_field": ("logarithm of intensity", "bias_gradient"),
    "age": ("years", "age"),
    "noise": ("relative to the controls' SD", "noise_sd"),
}
#: The columns of the manifest that are measured while a scan is made.
MEASURED = ("pitch_deg", "shift_mm", "bias_gradient", "noise_sd")
PATIENTS = "Dementia"
SIDES = {"patients": PATIENTS, "controls": "CN"}


def strength_of(settings, name):
    """The stated strength of a confound (a key of CONFOUNDS)."""
    value = settings["confounds"]
    for key in name.split("."):
        value = value[key]
    return float(value)


def planted_in(settings, row):
    """The strength of each confound in one scan: 0 unless its diagnosis is Dementia."""
    return {name: strength_of(settings, name) if row["DX"] == PATIENTS else 0.0 for name in CONFOUNDS}


def gradient(shape):
    """The logarithm of the planted bias field at strength 1, (1, 1, nz): half a cosine along the scanner's axis.

    Its root mean square over the field of view is 1. The feet's end is bright, the other one dark.
    """
    n = shape[2]
    return (np.sqrt(2) * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)[None, None]


def measure_gradient(log_field):
    """How much of the planted gradient is in the logarithm of a scan's bias field: exactly its strength, if all is."""
    return float((log_field * gradient(log_field.shape)).mean(dtype=np.float64))


def measure_position(affine, centre_mm):
    """Pitch (degrees) and shift along the scanner's axis (mm) of a head by its affine, template mm → scanner mm."""
    turn = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    pitch = np.rad2deg(np.arctan2(turn[2, 1], turn[2, 2]))
    return float(pitch), float(affine[2, :3] @ np.asarray(centre_mm) + affine[2, 3])


def moves_heads(settings):
    """Whether there is a confound of head position."""
    return any(strength_of(settings, name) for name in CONFOUNDS if name.startswith("head_position."))


def require_in_view(plan, reaches, view_mm, settings, *, clearance_mm):
    """Raise ConfigError where a confound of head position moves a patient's brain out of the field of view.

    Parameters
    ----------
    plan : DataFrame of `plan_cohort`, the rows of patients
    reaches : iterable of (3,) arrays, one a row: how far the brain reaches from the isocentre along each axis, mm
    view_mm : (3,), the field of view, centred on the isocentre
    clearance_mm : float, the room that there must be around a brain
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
        hint="make it smaller, or leave it room: lower simulation.head.shift_mm and rotation_deg",
    )


def confound_table(settings, manifest):
    """What each confound came to, by the schema CONFOUNDS: planted or not, so that balance shows as well.

    Parameters
    ----------
    settings : dict, the section `simulation`
    manifest : DataFrame of the cohort's scans; those whose file is whole count, of Dementia and of CN
    """
    whole = manifest[manifest["state"] == "complete"]
    rows = []
    for name, (unit, column) in CONFOUNDS.items():
        row = {"confound": name, "strength": strength_of(settings, name), "unit": unit, "measured": column}
        sides = {side: whole.loc[whole["DX"] == dx, column] for side, dx in SIDES.items()}
        for side, values in sides.items():
            row |= {f"{side}_mean": values.mean(), f"{side}_sd": values.std(), f"{side}_scans": len(values)}
        difference = row["patients_mean"] - row["controls_mean"]
        rows.append(row | {"difference": difference, "cohens_d": _standardised(difference, sides.values())})
    return pd.DataFrame(rows)


def _standardised(difference, sides):
    """Cohen's d, by the pooled standard deviation; not defined where nothing varies beyond rounding."""
    freedom = sum(len(values) - 1 for values in sides)
    if freedom < 1 or any(not len(values) for values in sides):
        return np.nan
    pooled = np.sqrt(sum(((values - values.mean()) ** 2).sum() for values in sides) / freedom)
    scale = max(np.abs(values).max() for values in sides)
    return difference / pooled if pooled > 1e-9 * max(scale, 1e-9) else np.nan


#: What patients have by a confound of simulated data, by its strength.
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
    """What was planted beside the disease, which and how strong; "" for none.

    Parameters
    ----------
    confounds : dict, the section simulation.confounds, or strengths by dotted name as simulation/confounds.tsv has them
    """
    head = confounds.get("head_position", {})
    strengths = {f"head_position.{key}": value for key, value in head.items()} | confounds
    words = [how(x) for name, how in CONFOUND_WORDS.items() if (x := float(strengths.get(name, 0)))]
    planted = "a confound was planted" if len(words) == 1 else f"{len(words)} confounds were planted"
    return f"{planted}: patients have {listing(words)}" if words else ""
