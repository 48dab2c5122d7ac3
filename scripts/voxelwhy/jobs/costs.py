"""What the pieces of a study take on one processor core: measured figures, and the estimates that are made of them.

They decide how much memory and time a job asks a scheduler for and how work is cut into jobs, never a number of the
study. Where each was measured stands in docs/running/cost.md.
"""

from __future__ import annotations

import math

from voxelwhy.io.channels import WARPS

#: Seconds of one SyNQuick registration on one processor thread, by voxel edge in mm.
SYN_QUICK_SECONDS = {1: 200, 2: 11, 3: 3, 4: 1}
#: How much longer the registration by local correlation takes.
SYN_CC_TIMES = 4
#: Seconds of the maps of a registration (log-Jacobian; segmentation) for each million voxels.
MAPS_SECONDS = {"log_jacobian": 1, "grey_matter_modulated": 15}
#: Seconds of a rigid or affine registration at 1 mm; they hardly depend on the voxel.
LINEAR_SECONDS = 4
N4_SECONDS = 16
#: A brain extraction is a program of the user's own: this is what one without a GPU takes.
EXTRACTION_SECONDS = 300
EXTRACTION_MB = 8000
#: Until a job's first line runs: Python, ANTs, and on a cluster Snakemake once more.
START_UP_SECONDS = 8

#: Registrations in one submission to a cluster; workflow/profiles/slurm names them all.
GROUP_SIZES = (1, 2, 5, 8, 10, 20, 50, 100, 200)
GROUP_SECONDS = 1800

#: Seconds of a forward and backward pass for each million voxels of a scan, one core. The networks of MONAI: from
#: training steps, batches of 5, on 49 x 60 x 50 and 98 x 120 x 100.
PASS_SECONDS = {
    "rieke2018": 0.3,
    "korolev2017": 0.6,
    "small": 0.3,
    "small_dataset": 1.0,
    "resnet18": 0.6,
    "densenet121": 1.2,
}
OWN_PASS_SECONDS = 1.0
#: How many such passes a map takes; integrated_gradients and smoothgrad take one for each step.
PASSES = {
    "sensitivity_analysis": 1.1,
    "guided_backprop": 1.1,
    "input_x_gradient": 1.1,
    "grad_cam": 0.6,
    "grad_cam_plusplus": 0.6,
    "guided_grad_cam": 1.7,
    "lrp": 2.5,
    "occlusion": 3.0,
    "area_occlusion": 3.0,
}
OCCLUSION_STRIDE_MM, OCCLUSION_POWER = 20, 1.5
#: Of networks in which a window soon reaches every cell, and windows share little: measured with 40 mm in steps of
#: 20 mm at 2 and 3 mm, and with 125 blocks as regions. Half the stride takes eight times as long.
DEEP_PASSES = {
    "resnet18": {"occlusion": 120, "area_occlusion": 50},
    "densenet121": {"occlusion": 110, "area_occlusion": 60},
}
DEEP_OCCLUSION_POWER = 3
STEPS = {"integrated_gradients": ("n_steps", 64), "smoothgrad": ("n_samples", 25)}
#: Seconds beside the passes for each map, whatever the grid.
MAP_SECONDS = 0.1

#: A part of the heatmaps of a split takes about so long, and has at most so many scans.
PART_MINUTES = 30
PART_SCANS = 500

#: Seconds that a job on tables takes for each scan of the cohort (pictures and JSON files are read one by one).
TABLE_SECONDS = 0.05
#: Seconds of one simulated scan in one of the two processes that share the work, and for each million voxels of it.
SIMULATED_SECONDS, SIMULATED_VOXEL_SECONDS = 0.5, 1.2
#: Seconds until the flows of a simulation are planned on the grid of 2 mm.
PLANNING_SECONDS = 20
#: The field of view of a simulated scan, and of the grid on which its flows are planned, million voxels of 1 mm.
SIMULATED_VOXELS, PLANNED_VOXELS = 9.28, 8.53

#: Memory in MB: of a job that has imported what tables need; for each scan of the cohort in a table; of a volume job
#: for each million voxels.
BASE_MB = 700
SCAN_MB = 0.03
MAP_MB = 250
#: Activations of a training step in float32, MB for each million voxels of each scan of a batch, and a tenth more.
#: The networks of MONAI: peaks of training steps on 98 x 120 x 100, batches of 5, less what torch itself takes.
ACTIVATIONS_MB = {
    "rieke2018": 330,
    "small": 330,
    "korolev2017": 300,
    "small_dataset": 1600,
    "resnet18": 320,
    "densenet121": 550,
}
OWN_ACTIVATIONS_MB = 1600


def registration_seconds(settings):
    """Seconds that the registration of one scan takes, start-up and all.

    Parameters
    ----------
    settings : dict
        The section registration of a config, with `extract` where brains are extracted first.
    """
    seconds = START_UP_SECONDS
    if settings["transform"] in WARPS:
        times = SYN_CC_TIMES if settings["transform"] == "syn_cc" else 1
        seconds += times * _between(SYN_QUICK_SECONDS, settings["resolution_mm"])
    elif settings["transform"] != "none":
        seconds += LINEAR_SECONDS
    if settings["n4"]:
        seconds += N4_SECONDS
    if "extract" in settings:
        seconds += EXTRACTION_SECONDS
    # A scan as it was acquired has some ten million voxels of a millimetre.
    return seconds + 10 * sum(MAPS_SECONDS[name] for name in settings.get("maps", ()))


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


def registration_mb(settings, megavoxels):
    """Memory of one registration, MB: seen were 3.8 GB for SyN at 1 mm, and 2.0 GB at 3 mm for N4 of a scan of 1 mm."""
    return 2300 + 260 * megavoxels + EXTRACTION_MB * ("extract" in settings)


def simulation_seconds(settings):
    """Seconds of the simulation of a cohort (`simulation` of a study): what is planned once, and each scan."""
    visits = settings["visits"]
    scans = sum(
        2 if group == "converter" else len(visits[k % len(visits)])
        for group, subjects in settings["subjects"].items()
        for k in range(subjects)
    )
    scan = SIMULATED_SECONDS + SIMULATED_VOXEL_SECONDS * SIMULATED_VOXELS / settings["resolution_mm"] ** 3
    return PLANNING_SECONDS * (2 / settings["working_mm"]) ** 3 + scans * scan / 2


def simulation_mb(settings):
    """Memory of the simulation of a cohort, MB, all processes: that of the grids, however many scans there are."""
    scan, planned = SIMULATED_VOXELS / settings["resolution_mm"] ** 3, PLANNED_VOXELS / settings["working_mm"] ** 3
    return 1500 + 170 * scan + 110 * planned


def step_seconds(network, megavoxels):
    """Seconds of one scan in one epoch of a training, on one core."""
    return 1.5 * PASS_SECONDS.get(network, OWN_PASS_SECONDS) * megavoxels + 0.02


def training_mb(network, batch_size, megavoxels):
    """Memory of a training, MB. On 193 x 229 x 193 voxels with batches of 5, rieke2018 takes 13.1 GB in all."""
    return 2000 + ACTIVATIONS_MB.get(network, OWN_ACTIVATIONS_MB) * batch_size * megavoxels


def heatmap_seconds(method, options, network, megavoxels):
    """Seconds of the map of one scan by a method with its options, on one core."""
    key, default = STEPS.get(method, (None, 1))
    deep = DEEP_PASSES.get(network, {})
    passes = (PASSES | deep).get(method, 1.1) * (options.get(key, default) if key else 1)
    if method == "occlusion":
        power = DEEP_OCCLUSION_POWER if deep else OCCLUSION_POWER
        # Half the stride is eight times the windows and takes 1.7 times as long, since windows share their work.
        passes *= max(1, OCCLUSION_STRIDE_MM / options.get("stride_mm", OCCLUSION_STRIDE_MM)) ** power
    return MAP_SECONDS + passes * PASS_SECONDS.get(network, OWN_PASS_SECONDS) * megavoxels


def heatmap_mb(network, megavoxels):
    """Memory of a job that makes heatmaps, MB: a scan forward and backward, and the sums over scans."""
    return 2000 + (ACTIVATIONS_MB.get(network, OWN_ACTIVATIONS_MB) + MAP_MB) * megavoxels


def n_parts(n_scans, seconds):
    """Into how many parts work on `n_scans` of `seconds` each is cut, none of much more than half an hour."""
    return max(1, math.ceil(n_scans * seconds / (60 * PART_MINUTES)), math.ceil(n_scans / PART_SCANS))
