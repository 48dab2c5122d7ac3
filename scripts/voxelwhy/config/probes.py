"""Whether a study probes single maps, compares trainings, and plants a loss in its controls (section `trust`)."""

from __future__ import annotations

from voxelwhy.errors import ConfigError

#: With `auto`, maps are probed and trainings compared in studies coarser than this, mm: on finer grids it takes hours.
PROBED_ABOVE_MM = 2.0
#: Trainings of each fold that are compared with `trust.seeds: auto`, that of the study among them.
COMPARED = 5


def check_probes(settings):
    """Raise ConfigError if the config asks for probes or comparisons that are not possible in the study."""
    trust, reason = settings["trust"], _obstacle(settings)
    asked = {"probes": trust["probes"] == "true", "seeds": trust["seeds"] not in ("auto", 0)}
    words = {"probes": "the maps of this study cannot be probed", "seeds": "trainings of this study cannot be compared"}
    for key in ("probes", "seeds"):
        if asked[key] and reason:
            raise ConfigError(
                f"trust.{key}: {words[key]}",
                found=reason,
                allowed="networks that the study trains, and heatmaps.target: positive",
                hint=f"omit trust.{key}, or set it to {'false' if key == 'probes' else 0}",
            )


def probes_maps(settings):
    """Whether the maps of a study are probed."""
    wanted = settings["trust"]["probes"]
    return wanted == "true" or (wanted == "auto" and _is_coarse(settings) and not _obstacle(settings))


def trainings_compared(settings):
    """The number of trainings of each fold whose maps are compared, that of the study among them; 0 for none."""
    asked = settings["trust"]["seeds"]
    if asked != "auto":
        return asked
    return COMPARED if _is_coarse(settings) and not _obstacle(settings) else 0


def why_not_compared(settings):
    """Why trainings are not compared, as a sentence; "" if they are."""
    if trainings_compared(settings):
        return ""
    if settings["trust"]["seeds"] == 0:
        return "the settings ask for no further trainings (trust.seeds: 0)"
    if reason := _obstacle(settings):
        return f"it needs networks that the study trains and heatmaps.target: positive, and this study has {reason}"
    return (
        f"on grids of {PROBED_ABOVE_MM:g} mm or finer, training each fold again takes hours (trust.seeds: 2 asks for "
        "one further training of each fold)"
    )


def _is_coarse(settings):
    return settings["registration"]["resolution_mm"] > PROBED_ABOVE_MM


def _obstacle(settings):
    if "weights" in settings.get("model", {}):
        return "model.weights, whose training scans are not available"
    target = settings["heatmaps"]["target"]
    return "" if target == "positive" else f"heatmaps.target: {target}"


def check_planted(settings):
    """Raise ConfigError if the config asks for a loss in the controls that the study cannot plant or learn."""
    if settings["trust"]["planted"] and (reason := _no_planting(settings)):
        raise ConfigError(
            "trust.planted: no loss can be planted in the controls of this study",
            found=reason,
            allowed="T1-weighted scans, networks that the study trains, and a split with heatmaps",
            hint="set trust.planted to 0",
        )
    changes = settings["trust"]["planted_loss"]
    if changes and min(changes.values()) >= 0:
        raise ConfigError(
            "trust.planted_loss: no region loses volume",
            found=", ".join(f"{name}: {change:g}" for name, change in changes.items()),
            allowed="at least one change below 0, such as hippocampus: -0.25",
        )


def _no_planting(settings):
    if "weights" in settings.get("model", {}):
        return "model.weights, which cannot be trained on the planted scans"
    if (modality := settings["scans"]["modality"]) != "t1w":
        return f"scans.modality: {modality}"
    return "" if any(split["heatmaps"] for split in settings["splits"]) else "no split with heatmaps"
