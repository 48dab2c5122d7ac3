"""Render one simulated scan: compose all deformations, interpolate the template once, add the scanner's effects."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from voxelwhy.cohort.simulation.anatomy import Brain, load_brain, region_maps
from voxelwhy.cohort.simulation.atrophy import Change, realise
from voxelwhy.cohort.simulation.confounds import MEASURED, gradient, measure_gradient, measure_position, planted_in
from voxelwhy.cohort.simulation.deform import exponential_map, flow_jacobian, grid_points, sample
from voxelwhy.cohort.simulation.plan import severity_of
from voxelwhy.cohort.simulation.variation import (
    ANATOMY_GRID,
    Growth,
    anatomy_velocity,
    bias_field,
    growth_velocity,
    head_affine,
    plan_growth,
    random_generator,
)
from voxelwhy.io.images import Grid

#: Systems of regions, of which subtypes of the disease have different multiples; other regions follow severity alone.
SYSTEMS, NO_SYSTEM = ("limbic", "cortical"), "none"
#: The scanner's field of view, mm, centred on its isocentre.
SCANNER_MM = np.array([200.0, 232.0, 200.0])
#: The centre of the template's brain, mm, which lies near the isocentre.
BRAIN_CENTRE_MM = (0.0, -17.0, 5.0)
#: Points up to this distance outside the template's brain may be carried into it by ageing or disease, mm.
REACH_MM = 4.0


@dataclass(frozen=True, eq=False)
class World:
    """What all scans of a cohort share."""

    settings: dict
    brain: Brain
    growth: Growth
    disease: Change
    reference: Change | None  # for a null cohort, the disease that an effect of 1 would plant
    flows: dict  # subtype -> velocity of its disease
    structure: dict  # "left", "right" -> map of the structure whose volume defines the classes; empty if none does


def make_world(settings):
    """Load the template and plan the flows of disease, ageing and normal spread.

    Raises
    ------
    ConfigError : a region has a label that does not exist in HCPEx.
    """
    brain = load_brain(settings["working_mm"], settings["resolution_mm"])
    maps = region_maps(brain, {name: region["labels"] for name, region in settings["regions"].items()})
    reach = settings["fluid_reach_mm"]

    def disease(effect):
        wanted, systems = {}, {}
        for name, region in settings["regions"].items():
            for side, more in (("left", settings["asymmetry"]), ("right", -settings["asymmetry"])):
                logarithm = effect * (1 + more) * np.log1p(region["change"])
                wanted[f"{name}_{side}"] = float(np.expm1(logarithm))
                systems[f"{name}_{side}"] = region.get("system", NO_SYSTEM)
        return realise(brain, maps, wanted, reach_mm=reach, systems=systems, givers=brain.yielding)

    growth = plan_growth(brain, settings["normal"]["hippocampus_labels"], reach)
    signal = settings.get("signal")
    planted, reference = disease(settings["effect"]), None if settings["effect"] or signal else disease(1)
    flows = {name: flow_of(planted, subtype) for name, subtype in settings["subtypes"].items()}
    structure = {side: maps[f"{signal}_{side}"] for side in ("left", "right")} if signal else {}
    return World(settings, brain, growth, planted, reference, flows, structure)


def flow_of(disease, multipliers):
    """The velocity of a disease that has a multiple of its size in each system.

    Parameters
    ----------
    disease : Change
    multipliers : dict, system -> factor, such as a subtype of the settings; systems that it lacks have the factor 1
    """
    factors = {system: np.float32(multipliers.get(system, 1)) for system in disease.parts}
    if all(factor == 1 for factor in factors.values()):
        return disease.velocity
    return sum(factor * disease.parts[system] for system, factor in factors.items())


def mean_jacobian(world, disease):
    """The Jacobian of a disease at severity 1 whose multiple in each system is the mean over the subtypes.

    Its logarithm is the mean log-Jacobian of patients up to the second order of the differences between subtypes.
    """
    subtypes = world.settings["subtypes"].values()
    whole = sum(subtype["share"] for subtype in subtypes)
    mean = {system: sum(kind["share"] * kind[system] for kind in subtypes) / whole for system in SYSTEMS}
    velocity, brain = flow_of(disease, mean), world.brain
    if velocity is disease.velocity:
        return disease.jacobian
    return flow_jacobian(velocity, brain.grid, brain.grid, brain.inside)


def scan_grid(resolution_mm):
    """The grid of a simulated scan: the scanner's field of view, with the isocentre at its centre."""
    shape = np.ceil(SCANNER_MM / resolution_mm).astype(int)
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = -(shape - 1) / 2 * resolution_mm
    return Grid(tuple(int(n) for n in shape), affine)


def wanted_volumes(settings, seed, row):
    """Logarithms of volume relative to the template, without the disease: (tissue, {hippocampus, ventricles}).

    The sum of individual variation, cross-sectional ageing up to the first visit, and the change since then.
    """
    rng = random_generator(seed, "volumes", row["RID"])
    normal, ageing = settings["normal"], settings["ageing"]
    hippocampus, ventricles = np.clip(rng.normal(size=2), -2, 2)
    at_first = row["age"] - row["years"] - ageing["reference_age"]
    since = row["years"]
    spread = {name: np.sqrt(np.log1p(normal[f"{name}_spread"] ** 2)) for name in ("hippocampus", "ventricles")}
    volumes = {
        "hippocampus": spread["hippocampus"] * hippocampus
        + at_first * np.log1p(ageing["hippocampus_per_year"])
        + since * np.log1p(ageing["hippocampus_per_year_within"]),
        "ventricles": spread["ventricles"] * ventricles + (at_first + since) * np.log1p(ageing["ventricles_per_year"]),
    }
    return (at_first + since) * np.log1p(ageing["tissue_per_year"]), volumes


def head_position(settings, seed, row):
    """Position of a head in the scanner: template mm → scanner mm, 4 x 4, as drawn plus any confound."""
    planted = planted_in(settings, row)
    return head_affine(
        random_generator(seed, "size", row["RID"]),
        random_generator(seed, "position", row["RID"], row["number"]),
        settings["head"],
        row["sex"],
        BRAIN_CENTRE_MM,
        pitch_deg=planted["head_position.pitch_deg"],
        shift_mm=planted["head_position.shift_mm"],
    )


def template_points(world, seed, row):
    """The point of the template that each voxel of a scan comes from.

    The inverses of head position, anatomy, ageing with normal variation, and disease are applied to the voxel centres
    in this order; no field is resampled in between.

    Returns
    -------
    reached : bool array on the grid of the scan: voxels that may lie in the brain
    points : float32 array, (3, n), mm in the template, for these voxels
    """
    settings, brain = world.settings, world.brain
    grid = scan_grid(settings["resolution_mm"])
    back = np.linalg.inv(head_position(settings, seed, row)).astype(np.float32)
    # einsum instead of @: the last bits of a matrix product may depend on the threads of its library.
    points = np.einsum("ij,jn->in", back[:3, :3], grid_points(grid)) + back[:3, 3:]
    anatomy = anatomy_velocity(random_generator(seed, "anatomy", row["RID"]), settings["anatomy"])
    # Points that no flow can carry into the brain are excluded early; vectors never reach three times the RMS.
    longest = 3 * np.hypot(settings["anatomy"]["coarse_rms_mm"], settings["anatomy"]["fine_rms_mm"])
    reached = np.flatnonzero(_distance(brain, points) <= REACH_MM + longest)
    # The error of one step of the scheme is 0.005 mm (root mean square), at most 0.1 mm.
    points = exponential_map(anatomy, ANATOMY_GRID, points[:, reached], scale=-1.0, steps=1)
    near = _distance(brain, points) <= REACH_MM
    reached, points = reached[near], points[:, near]
    growth = growth_velocity(brain, world.growth, anatomy, *wanted_volumes(settings, seed, row))
    points = exponential_map(growth, brain.grid, points, scale=-1.0, steps=1)
    severity = severity_of(settings, row)
    if severity:
        points = exponential_map(world.flows[row["subtype"]], brain.grid, points, scale=-severity, steps=1)
    mask = np.zeros(grid.shape, dtype=bool)
    mask.flat[reached] = True
    return mask, points


def head_reach(world, seed, row):
    """How far a brain, with its individual anatomy, reaches from the isocentre along each scanner axis, mm."""
    brain = world.brain
    outline = grid_points(brain.grid, brain.inside & ~ndimage.binary_erosion(brain.inside))
    anatomy = anatomy_velocity(random_generator(seed, "anatomy", row["RID"]), world.settings["anatomy"])
    affine = head_position(world.settings, seed, row)
    points = exponential_map(anatomy, ANATOMY_GRID, outline, steps=1)
    return np.abs(np.einsum("ij,jn->in", affine[:3, :3], points) + affine[:3, 3:]).max(axis=1)


def _distance(brain, points):
    return sample(brain.outside_mm, brain.grid, points, order=0, mode="constant", fill=np.inf)


def render_scan(world, seed, row):
    """The voxels of one scan, int16 on `scan_grid`; 0 outside the brain. See `make_scan` for measurements."""
    return _render(world, seed, row)[0]


def _render(world, seed, row):
    """The voxels of a scan, and its values of `confounds.MEASURED`.

    Every draw depends on seed, RID and visit, never on the diagnosis, and no draw is skipped. A second processing of
    the same acquisition has the same noise and position, but its own gain and residual bias field.
    """
    settings, brain = world.settings["intensity"], world.brain
    planted = planted_in(world.settings, row)
    near, points = template_points(world, seed, row)
    signal = np.zeros(near.shape, dtype=np.float32)
    signal[near] = sample(brain.template, brain.fine, points, mode="constant")
    brighter = grey_brightening(world, row)
    if brighter:
        # Template and grey matter are interpolated at the same points, so patients' scans are not smoother.
        signal[near] += brighter / 255 * sample(brain.grey, brain.fine, points, mode="constant")
    mask = np.zeros(near.shape, dtype=bool)
    mask[near] = sample(brain.template_mask, brain.fine, points, mode="constant") > 0.5
    rng = random_generator(seed, "noise", row["RID"], row["number"])
    noise = settings["noise"] * (1 + planted["noise"]) * rng.standard_normal((2, *near.shape), dtype=np.float32)
    # The magnitude of a complex signal with Gaussian noise in both parts, which is Rician as in a scanner.
    magnitude = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    rng = random_generator(seed, "gain", row["RID"], row["number"], row["processed"])
    gain = settings["white_matter"] * np.exp(settings["gain_spread"] * np.clip(rng.normal(), -2.5, 2.5))
    field = bias_field(rng, near.shape, settings["bias_rms"])
    if planted["bias_field"]:
        field *= np.exp(np.float32(planted["bias_field"]) * gradient(near.shape))
    pitch, shift = measure_position(head_position(world.settings, seed, row), BRAIN_CENTRE_MM)
    spread = float(np.sqrt((noise**2).mean(dtype=np.float64)))
    measured = dict(zip(MEASURED, (pitch, shift, measure_gradient(np.log(field)), spread), strict=True))
    image = gain * magnitude * field
    return np.where(mask, np.clip(np.rint(image), 1, 32767), 0).astype(np.int16), measured


def grey_brightening(world, row):
    """How much brighter the disease makes grey matter in a scan, relative to white matter, by a change of contrast."""
    settings = world.settings
    share = -settings["contrast"] * settings["effect"] * severity_of(settings, row)
    return np.float32(share * (1 - world.brain.grey_level)) if share else np.float32(0)


def scan_bytes(world, seed, row):
    """The bytes of a scan's .nii.gz file; a truncated file ends after three fifths, like a broken download."""
    return make_scan(world, seed, row)[0]


def make_scan(world, seed, row):
    """The bytes of a scan's .nii.gz file, and measurements of the scan.

    Parameters
    ----------
    row : dict, one row of `plan_cohort`

    Returns
    -------
    content : bytes
    measured : dict
        `pitch_deg` and `shift_mm` of the head from its affine; `bias_gradient`, the part of the bias field's logarithm
        that is the planted gradient; `noise_sd`, the noise in each channel relative to white matter.
    """
    grid = scan_grid(world.settings["resolution_mm"])
    voxels, measured = _render(world, seed, row)
    image = nib.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, 1)
    image.set_qform(grid.affine, 1)
    # The gzip header contains no name or time, so that equal voxels give equal bytes.
    packed = gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
    return packed[: len(packed) * 3 // 5] if row["state"] == "truncated" else packed, measured
