"""Checks of the section `simulation`: confounds that fit the cohort, classes by the volume of one structure."""

from __future__ import annotations

from voxelwhy.errors import ConfigError
from voxelwhy.io.text import listing

#: Years that are reserved for later visits; must equal `cohort.simulation.plan.VISITS_TAKE`.
LAST_VISIT_YEARS = 2.1
#: The largest value of simulation.intensity.noise that the schema allows.
MOST_NOISE = 0.2


def check_confounds(settings):
    """Raise ConfigError for a confound that the cohort has no room for."""
    simulation = settings.get("simulation", {})
    confounds = simulation.get("confounds", {})
    if older := confounds.get("age", 0):
        age = simulation["age"]
        most = (age["highest"] - age["lowest"] - LAST_VISIT_YEARS) / 2
        if abs(older) > most:
            raise ConfigError(
                "simulation.confounds.age is more than half of the age range: patients and controls would hardly "
                "overlap",
                found=older,
                allowed=f"{-most:g} to {most:g} years, where ages are {age['lowest']:g} to {age['highest']:g}",
                hint="use a smaller value, or a wider range of simulation.age.lowest to highest",
            )
    if more := confounds.get("noise", 0):
        noise = simulation["intensity"]["noise"]
        if noise == 0 or noise * (1 + more) > MOST_NOISE:
            raise ConfigError(
                "simulation.confounds.noise: the noise of patients' scans is out of range",
                found=f"{1 + more:g} times simulation.intensity.noise {noise:g}",
                allowed=f"above 0 and at most {MOST_NOISE:g}",
                hint="it multiplies the noise that all scans have" if noise == 0 else None,
            )


def check_signal(settings):
    """Raise ConfigError unless the volume of the structure `simulation.signal` alone can define the classes."""
    simulation = settings.get("simulation", {})
    if (signal := simulation.get("signal")) is None:
        return
    if signal not in simulation["regions"]:
        raise ConfigError(
            "simulation.signal names no region of the simulation",
            column="simulation.signal",
            found=signal,
            allowed=listing(simulation["regions"]),
        )
    confounds = simulation["confounds"]
    others = {name: any(x.values()) if isinstance(x, dict) else bool(x) for name, x in confounds.items()}
    wrong = [f"simulation.effect: {simulation['effect']:g}"] if simulation["effect"] else []
    if wrong := wrong + [f"simulation.confounds.{name}" for name, planted in others.items() if planted]:
        raise ConfigError(
            "simulation.signal: the volume of a structure alone defines the classes",
            found=listing(wrong),
            allowed="simulation.effect: 0, and no confounds",
        )
    classes = settings["cohort"]["classes"]
    values = [classes[side]["values"] for side in ("positive", "negative")]
    if values != [["small"], ["large"]]:
        raise ConfigError(
            "simulation.signal makes the classes small and large",
            column="cohort.classes",
            found=f"positive: {listing(values[0])}, negative: {listing(values[1])}",
            allowed="positive: {name: small, values: [small]}, negative: {name: large, values: [large]}",
        )
