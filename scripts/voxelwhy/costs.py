"""What a step costs, as measured: so that a cluster is asked for the right share."""

from __future__ import annotations

import math

#: Seconds of one SyNQuick registration on one processor thread, by voxel edge in mm.
SYN_QUICK_SECONDS = {1: 200, 2: 11, 3: 3, 4: 1}
#: Seconds of a rigid or affine registration at 1 mm; they hardly depend on the voxel.
LINEAR_SECONDS = 4
N4_SECONDS = 16
#: A brain extraction is a program of the user's own: this is what one without a GPU takes.
EXTRACTION_SECONDS = 300
#: Until a job's first line runs: Python, ANTs, and on a cluster Snakemake once more.
START_UP_SECONDS = 8

#: Registrations in one submission to a cluster; workflow/profiles/slurm names them all.
GROUP_SIZES = (1, 2, 5, 10, 20, 50, 100, 200)
GROUP_SECONDS = 1800


def registration_seconds(settings):
    """Seconds that the registration of one scan takes, start-up and all.

    Parameters
    ----------
    settings : dict
        The section registration of a config, with `extract` where brains are extracted first.
    """
    seconds = START_UP_SECONDS
    if settings["transform"] == "syn_quick":
        seconds += _between(SYN_QUICK_SECONDS, settings["resolution_mm"])
    elif settings["transform"] != "none":
        seconds += LINEAR_SECONDS
    if settings["n4"]:
        seconds += N4_SECONDS
    if "extract" in settings:
        seconds += EXTRACTION_SECONDS
    return seconds


def registrations_per_job(settings):
    """How many registrations go into one submission to a cluster, of GROUP_SIZES: half an hour's worth, or one."""
    fitting = [size for size in GROUP_SIZES if size * registration_seconds(settings) <= GROUP_SECONDS]
    return max(fitting, default=1)


def _between(measured, x):
    """A power law between the two measured points around `x`, or through the two nearest ones outside of them."""
    points = sorted(measured)
    right = next((i for i, point in enumerate(points) if i and x <= point), len(points) - 1)
    low, high = points[right - 1], points[right]
    share = math.log(x / low) / math.log(high / low)
    return measured[low] * (measured[high] / measured[low]) ** share
