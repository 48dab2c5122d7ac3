"""Channels of a network: the registered intensities of a scan, and images that are derived from its registration."""

from __future__ import annotations

from pathlib import Path

#: Channels by name, with the title that a reader knows. Each is `<channel>.nii` in the folder of a registered scan.
CHANNELS = {
    "t1": "T1-weighted intensity",
    "log_jacobian": "log-Jacobian of the registration (tensor-based morphometry)",
    "grey_matter_modulated": "modulated grey matter (voxel-based morphometry)",
}
#: What the intensities are, by `scans.modality`: for a reader, and as the title of the channel `t1`.
MODALITIES = {
    "t1w": ("T1-weighted scans", "T1-weighted intensity"),
    "gm": ("maps of grey matter", "grey matter"),
    "pet": ("PET images", "tracer uptake"),
    "other": ("images of another kind than T1-weighted scans", "intensity"),
}
#: Deformable transforms; only these have a Jacobian.
WARPS = ("syn_quick", "syn_cc")


def maps_needed(channels, maps=()):
    """Return the images that registration derives in addition to the intensities, for `channels` and for `maps`."""
    return sorted({*channels, *maps} - {"t1"})


def channel_path(t1_path, channel):
    """Return the path of a channel of a registered scan, given that of its intensities (which may have any name)."""
    return Path(t1_path) if channel == "t1" else Path(t1_path).with_name(f"{channel}.nii")


def in_words(channels, modality="t1w"):
    """Name the channels of a network in a sentence."""
    titles = CHANNELS | {"t1": MODALITIES[modality][1]}
    return " and ".join(titles[channel] for channel in channels)
