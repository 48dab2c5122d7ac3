"""What a network sees of a scan: its registered intensities, and images that its registration gives beside them."""

from __future__ import annotations

from pathlib import Path

#: Channels by name, as a reader knows them. Each is a file `<channel>.nii` in the folder of a registered scan.
CHANNELS = {
    "t1": "T1-weighted intensity",
    "log_jacobian": "log-Jacobian of the registration (tensor-based morphometry)",
    "grey_matter_modulated": "modulated grey matter (voxel-based morphometry)",
}
#: Transforms that deform a scan: only these have a Jacobian.
WARPS = ("syn_quick", "syn_cc")


def maps_needed(channels, maps=()):
    """The images that registration makes beside the intensities, for these channels and those that are asked for."""
    return sorted({*channels, *maps} - {"t1"})


def channel_path(t1_path, channel):
    """Path of a channel of a registered scan, from that of its intensities (which may have any name)."""
    return Path(t1_path) if channel == "t1" else Path(t1_path).with_name(f"{channel}.nii")


def in_words(channels):
    """The channels of a network for a sentence."""
    return " and ".join(CHANNELS[channel] for channel in channels)
