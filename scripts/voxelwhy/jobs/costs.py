"""Estimated run time and memory of the steps of a study on one processor core, from measured values.

They decide how much memory and time a job requests from a scheduler and how work is divided into jobs; they never
change a result. docs/running/cost.md describes where each was measured.
"""

from __future__ import annotations

import math

from voxelwhy.io.channels import WARPS

#: Seconds of one SyNQuick registration on one processor thread, by voxel edge in mm.
SYN_QUICK_SECONDS = {1: 200, 2: 11, 3: 3, 4: 1}
#: Factor by which SyN with local cross-correlation takes longer.
SYN_CC_TIMES = 4
#: Seconds per million voxels for the maps of a registration (log-Jacobian; segmentation).
MAPS_SECONDS = {"log_jacobian": 1, "grey_matter_modulated": 15}
#: Seconds of a rigid or affine registration at 1 mm, which hardly depend on the voxel size.
LINEAR_SECONDS = 4
#: Seconds to take over a scan that others have registered, and per million voxels of it.
TAKEN_SECONDS, TAKEN_VOXEL_SECONDS = 0.2, 0.3
N4_SECONDS = 16
#: A brain extraction is a program of the user's choice; these are values for one that runs without a GPU.
EXTRACTION_SECONDS = 300
EXTRACTION_MB = 8000
#: Seconds before a job's first line runs: Python, ANTs, and on a cluster Snakemake once more.
START_UP_SECONDS = 8

#: Possible numbers of registrations per cluster submission; workflow/profiles/slurm lists them all.
GROUP_SIZES = (1, 2, 5, 8, 10, 20, 50, 100, 200)
GROUP_SECONDS = 1800

#: Seconds of a forward and backward pass per million voxels of a scan, one core. For sfcn and the networks of MONAI,
#: measured in training steps with batches of 5, on 49 x 60 x 50 and 98 x 120 x 100 voxels.
PASS_SECONDS = {
    "rieke2018": 0.3,
    "korolev2017": 0.6,
    "small": 0.3,
    "compact": 0.05,
    "small_dataset": 1.0,
    "sfcn": 1.1,
    "resnet18": 0.6,
    "densenet121": 1.2,
}
OWN_PASS_SECONDS = 1.0
#: Number of such passes per map; integrated_gradients and smoothgrad take one for each step.
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
#: The same for deep networks, in which a window soon affects every cell, so windows share little work. Measured with
#: 40 mm in steps of 20 mm at 2 and 3 mm, and with 125 blocks as regions. Half the stride takes eight times as long.
DEEP_PASSES = {
    "sfcn": {"occlusion": 35, "area_occlusion": 7},
    "resnet18": {"occlusion": 120, "area_occlusion": 50},
    "densenet121": {"occlusion": 110, "area_occlusion": 60},
}
DEEP_OCCLUSION_POWER = 3
STEPS = {"integrated_gradients": ("n_steps", 64), "smoothgrad": ("n_samples", 25)}
#: Seconds per map in addition to the passes, independent of the grid.
MAP_SECONDS = 0.1

#: Approximate duration of one part of the heatmaps of a split, and its largest number of scans.
PART_MINUTES = 30
PART_SCANS = 500

#: Seconds per scan of the cohort in a job on tables (pictures and JSON files are read one by one).
TABLE_SECONDS = 0.05
#: The same per million voxels, where the registered images are read and measured.
MEASURING_SECONDS = 0.05
#: Draws of shuffled diagnoses that take longer than this together are divided into several jobs.
SHUFFLED_HOURS = 6
#: Seconds per simulated scan, and per million voxels of it, in one of the two processes that share the work.
SIMULATED_SECONDS, SIMULATED_VOXEL_SECONDS = 0.5, 1.2
#: Seconds to plan the flows of a simulation on a grid of 2 mm.
PLANNING_SECONDS = 20
#: Field of view of a simulated scan, and of the grid on which its flows are planned, in million voxels of 1 mm.
SIMULATED_VOXELS, PLANNED_VOXELS = 9.28, 8.53

#: Voxelwise baseline, seconds: per scan and million voxels to read and smooth it; per pair of scans and million voxels
#: for the kernel; per pair of scans for the fits of one fold. Measured on 97 x 115 x 97 voxels: 1,000 scans take 33 s,
#: 8 s and 0.1 s; scans that are not in the page cache, and diagnoses that cannot be separated, take longer.
SMOOTHING_SECONDS, KERNEL_SECONDS, FIT_SECONDS = 0.1, 1e-5, 1e-6
#: Bytes per pair of scans: its kernels (by channel, as computed, selected and centred) and those of a fit.
KERNEL_BYTES = 8 * 6
#: Memory of its blocks of voxels, MB.
BLOCKS_MB = 200

#: Memory in MB: of a job after the imports that tables need; per scan of the cohort in a table; per million voxels in a
#: job on volumes.
BASE_MB = 700
SCAN_MB = 0.03
MAP_MB = 250
#: Activations of a training step in float32, MB per million voxels of each scan of a batch, plus a tenth. For sfcn
#: and the networks of MONAI, the peak of training steps on 98 x 120 x 100 voxels, batches of 5, minus the memory of
#: torch.
ACTIVATIONS_MB = {
    "rieke2018": 330,
    "small": 330,
    "compact": 120,
    "korolev2017": 300,
    "small_dataset": 1600,
    "sfcn": 540,
    "resnet18": 320,
    "densenet121": 550,
}
OWN_ACTIVATIONS_MB = 1600


def registration_seconds(settings):
    """Seconds for the registration of one scan, including start-up.

    Parameters
    ----------
    settings : dict
        The section registration of a config, with `extract` if brains are extracted first.
    """
    if settings["transform"] == "none":  # in batches, which start once
        return TAKEN_SECONDS + TAKEN_VOXEL_SECONDS * SIMULATED_VOXELS / settings["resolution_mm"] ** 3
    seconds = START_UP_SECONDS
    if settings["transform"] in WARPS:
        times = SYN_CC_TIMES if settings["transform"] == "syn_cc" else 1
        seconds += times * _between(SYN_QUICK_SECONDS, settings["resolution_mm"])
    else:
        seconds += LINEAR_SECONDS
    if settings["n4"]:
        seconds += N4_SECONDS
    if "extract" in settings:
        seconds += EXTRACTION_SECONDS
    # A scan as acquired has about ten million voxels of 1 mm.
    return seconds + 10 * sum(MAPS_SECONDS[name] for name in settings.get("maps", ()))


def registrations_per_job(settings):
    """The number of registrations in one cluster submission, from GROUP_SIZES: those of half an hour, or one."""
    fitting = [size for size in GROUP_SIZES if size * registration_seconds(settings) <= GROUP_SECONDS]
    return max(fitting, default=1)


def _between(measured, x):
    """A power law through the two measured points around `x`, or the two nearest ones if `x` is outside the range."""
    points = sorted(measured)
    right = next((i for i, point in enumerate(points) if i and x <= point), len(points) - 1)
    low, high = points[right - 1], points[right]
    share = math.log(x / low) / math.log(high / low)
    return measured[low] * (measured[high] / measured[low]) ** share


def registration_mb(settings, megavoxels):
    """Memory of one registration, MB. Measured: 3.8 GB for SyN at 1 mm; 2.0 GB at 3 mm with N4 of a scan of 1 mm."""
    return 2300 + 260 * megavoxels + EXTRACTION_MB * ("extract" in settings)


def simulation_seconds(settings):
    """Seconds for the simulation of a cohort (`simulation` of a study): planning, done once, and each scan."""
    visits = settings["visits"]
    scans = sum(
        2 if group == "converter" else len(visits[k % len(visits)])
        for group, subjects in settings["subjects"].items()
        for k in range(subjects)
    )
    scan = SIMULATED_SECONDS + SIMULATED_VOXEL_SECONDS * SIMULATED_VOXELS / settings["resolution_mm"] ** 3
    return PLANNING_SECONDS * (2 / settings["working_mm"]) ** 3 + scans * scan / 2


def simulation_mb(settings):
    """Memory of the simulation of a cohort, MB, all processes: it depends on the grids, not on the number of scans."""
    scan, planned = SIMULATED_VOXELS / settings["resolution_mm"] ** 3, PLANNED_VOXELS / settings["working_mm"] ** 3
    return 1500 + 170 * scan + 110 * planned


def step_seconds(network, megavoxels):
    """Seconds per scan in one epoch of a training, on one core."""
    return 1.5 * PASS_SECONDS.get(network, OWN_PASS_SECONDS) * megavoxels + 0.02


def training_mb(network, batch_size, megavoxels):
    """Memory of a training, MB. On 193 x 229 x 193 voxels with batches of 5, rieke2018 takes 13.1 GB in all."""
    return 2000 + ACTIVATIONS_MB.get(network, OWN_ACTIVATIONS_MB) * batch_size * megavoxels


def heatmap_seconds(method, options, network, megavoxels):
    """Seconds for the map of one scan by a method with its options, on one core."""
    key, default = STEPS.get(method, (None, 1))
    deep = DEEP_PASSES.get(network, {})
    passes = (PASSES | deep).get(method, 1.1) * (options.get(key, default) if key else 1)
    if method == "occlusion":
        power = DEEP_OCCLUSION_POWER if deep else OCCLUSION_POWER
        # Half the stride means eight times as many windows but takes 1.7 times as long, since windows share their work.
        passes *= max(1, OCCLUSION_STRIDE_MM / options.get("stride_mm", OCCLUSION_STRIDE_MM)) ** power
    return MAP_SECONDS + passes * PASS_SECONDS.get(network, OWN_PASS_SECONDS) * megavoxels


def heatmap_mb(network, megavoxels):
    """Memory of a job that computes heatmaps, MB: a forward and backward pass of a scan, and the sums over scans."""
    return 2000 + (ACTIVATIONS_MB.get(network, OWN_ACTIVATIONS_MB) + MAP_MB) * megavoxels


def shuffled_parts(draws, seconds):
    """The number of jobs for draws of shuffled diagnoses in a fold, of `seconds` each; at least two share the work."""
    return max(min(2, draws), min(draws, math.ceil(draws * seconds / (3600 * SHUFFLED_HOURS))))


def voxelwise_seconds(n_scans, n_channels, n_fits, megavoxels):
    """Seconds of the voxelwise baseline on one core; `n_fits` counts folds times diagnoses, true and permuted."""
    voxels = n_channels * megavoxels
    return n_scans * voxels * SMOOTHING_SECONDS + n_scans**2 * (voxels * KERNEL_SECONDS + n_fits * FIT_SECONDS)


def voxelwise_mb(n_scans, n_channels):
    """Memory of the voxelwise baseline, MB, in addition to that of a job on volumes: it holds kernels, not scans."""
    return BLOCKS_MB + KERNEL_BYTES * n_channels * n_scans**2 / 1e6


def n_parts(n_scans, seconds):
    """The number of parts for work on `n_scans` of `seconds` each, none of much more than half an hour."""
    return max(1, math.ceil(n_scans * seconds / (60 * PART_MINUTES)), math.ceil(n_scans / PART_SCANS))
