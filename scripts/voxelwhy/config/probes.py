"""Whether a study probes the maps of single scans, and plants a loss in its controls (section `trust`)."""

from __future__ import annotations

from voxelwhy.errors import ConfigError

#: With `trust.probes: auto`, maps are probed in studies coarser than this, mm: on finer grids it takes hours.
PROBED_ABOVE_MM = 2.0


def check_probes(settings):
    """Raise ConfigError if the config asks for probes of maps that the study cannot probe."""
    if settings["trust"]["probes"] == "true" and (reason := _obstacle(settings)):
        raise ConfigError(
            "trust.probes: the maps of this study cannot be probed",
            found=reason,
            allowed="networks that the study trains, and heatmaps.target: positive",
            hint="leave trust.probes out, or set it to false",
        )


def probes_maps(settings):
    """Whether the maps of a study are probed."""
    wanted = settings["trust"]["probes"]
    coarse = settings["registration"]["resolution_mm"] > PROBED_ABOVE_MM
    return wanted == "true" or (wanted == "auto" and coarse and not _obstacle(settings))


def _obstacle(settings):
    if "weights" in settings.get("model", {}):
        return "model.weights, whose training scans are not at hand"
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
