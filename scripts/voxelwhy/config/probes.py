"""Whether a study probes the maps of single scans (section `trust`)."""

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
            hint="omit trust.probes, or set it to false",
        )


def probes_maps(settings):
    """Whether the maps of a study are probed."""
    wanted = settings["trust"]["probes"]
    coarse = settings["registration"]["resolution_mm"] > PROBED_ABOVE_MM
    return wanted == "true" or (wanted == "auto" and coarse and not _obstacle(settings))


def _obstacle(settings):
    if "weights" in settings.get("model", {}):
        return "model.weights, whose training scans are not available"
    target = settings["heatmaps"]["target"]
    return "" if target == "positive" else f"heatmaps.target: {target}"
