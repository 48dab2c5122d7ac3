"""
`python -m bench.new_scan STUDY [--real FOLDER]`: does `voxelwhy explain` notice scans that it should not explain?

Three measurements on a finished study of simulated brains, such as results/demo:

- 40 inputs that are no T1-weighted brain of an adult as they should be: other contrasts, wrong orientations, other
  objects, segmentations, small heads, whole heads and cropped brains. They are made from simulated brains of another
  seed and, with --real, from real ones (the folder of a BIDS dataset). At least 95 % must be refused or flagged;
- the study's own scans, each with limits from the other folds: at most 5 % may be flagged;
- the new simulated brains themselves, as they are, and some with left and right exchanged, which nothing is expected
  to notice.

Networks are not needed for this, so that it takes about three seconds an input at 4 mm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from scipy import ndimage

from helpers.paths import ROOT, SCHEMA
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.cohort.simulation.plan import plan_cohort
from voxelwhy.cohort.simulation.scans import make_scan, make_world
from voxelwhy.errors import InputError
from voxelwhy.evaluation.intervals import exact_interval
from voxelwhy.evaluation.new_scan.explain import check_new
from voxelwhy.evaluation.new_scan.reference import Reference
from voxelwhy.evaluation.new_scan.study import open_study

#: Seed of the new brains, which no study uses, and subjects of each class.
SEED, SUBJECTS = 4711, 8
#: Tolerated shares: missed inputs, and flagged scans of the study.
MISSED, ALARMS = 0.05, 0.05
#: New brains whose mirror images are checked.
MIRRORED = 8
#: Real brains that inputs are made of.
REAL = ("sub-01", "sub-09")


def simulate_brains(folder):
    """Write new simulated brains, as in the demo but of another seed; returns their paths."""
    config = load_study(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()), SCHEMA)
    settings = config["simulation"] | {
        "subjects": {"CN": SUBJECTS, "Dementia": SUBJECTS, "MCI": 0, "converter": 0},
        "visits": [["Screening"]],
        "missing_files": [],
        "truncated_files": [],
    }
    world, paths = make_world(settings), []
    for row in plan_cohort(settings, SEED).to_dict("records"):
        paths.append(Path(folder, f"{row['PTID']}.nii.gz"))
        paths[-1].write_bytes(make_scan(world, SEED, row)[0])
    return paths


def by_value(image, curve):
    """An image whose values in the brain are a curve of the old ones, which are 0 to 1."""
    values = image.get_fdata()
    inside, top = values > 0, np.percentile(values[values > 0], 99)
    shares = np.clip(values / top, 0, 1)
    return like(image, np.where(inside, 1000 * np.clip(curve(shares), 0.02, None), 0))


def like(image, values, affine=None):
    """An image with other values, int16, and another affine if one is given."""
    made = nib.Nifti1Image(np.rint(values).astype(np.int16), image.affine if affine is None else affine)
    made.header.set_xyzt_units("mm")
    return made


def turned(image, turn):
    """An image whose voxels are turned, while its header states the old orientation."""
    return like(image, turn(image.get_fdata()))


def zoomed(image, factor):
    """An image with other voxel sizes: the same brain, smaller."""
    affine = image.affine.copy()
    affine[:3] *= factor
    return like(image, image.get_fdata(), affine)


def cropped(image, axis, share, *, top=True):
    """An image without the slices at one end of the brain: `share` of its extent along an axis is 0."""
    values = image.get_fdata().copy()
    inside = np.flatnonzero((values > 0).any(axis=tuple({0, 1, 2} - {axis})))
    gone = round(share * len(inside))
    chosen = inside[-gone:] if top else inside[:gone]
    np.moveaxis(values, axis, 0)[chosen] = 0
    return like(image, values)


def with_head(image):
    """A brain with dark bone and bright scalp around it."""
    values = image.get_fdata()
    padded = np.pad(values, 6)
    depth = ndimage.distance_transform_edt(padded == 0, sampling=nib.affines.voxel_sizes(image.affine))
    top = np.percentile(values[values > 0], 99)
    shell = np.where((depth > 9) & (depth <= 22), 0.9 * top, np.where((depth > 0) & (depth <= 9), 0.08 * top, 0))
    affine = image.affine.copy()
    affine[:3, 3] -= image.affine[:3, :3] @ [6, 6, 6]
    return like(image, np.where(padded > 0, padded, shell), affine)


def objects(image):
    """What is not a brain, on the grid of one: phantoms and noise."""
    shape, rng = image.shape, np.random.default_rng(SEED)
    mm = nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(shape), 0, -1))
    mm = mm - mm.reshape(-1, 3).mean(axis=0)
    noise = rng.normal(1, 0.02, shape)

    def ellipsoid(edges):
        return ((mm / edges) ** 2).sum(axis=-1) <= 1

    tube = np.hypot(mm[..., 0], mm[..., 1])
    blobs = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    shaded = 1 + 0.1 * blobs / blobs.std()
    return {
        "sphere": like(image, 800 * noise * ellipsoid([70, 70, 70])),
        "kidney": like(image, 700 * shaded * (ellipsoid([75, 90, 65]) & ~ellipsoid([35, 60, 40]))),
        "bottle": like(image, 900 * shaded * ((tube < 60) & (np.abs(mm[..., 2]) < 75))),
        "noise": like(image, np.abs(rng.normal(0, 300, shape))),
        "smooth noise": like(image, 500 + 400 * blobs / blobs.std()),
        "gradient": like(image, np.clip((mm[..., 1] + 120) * 4 * noise, 0, None) * ellipsoid([72, 88, 66])),
    }


def segmentations(image):
    """Classes of tissue, a mask, labels of blocks, and a smoothed mask."""
    values = image.get_fdata()
    inside = values > 0
    edges = np.percentile(values[inside], [25, 60])
    blocks = sum(np.indices(image.shape)[axis] // 6 * 20**axis for axis in range(3)) % 97 + 1
    return {
        "tissue classes": like(image, np.where(inside, 1 + np.digitize(values, edges), 0)),
        "brain mask": like(image, inside * 1000),
        "labels": like(image, np.where(inside, blocks, 0)),
        "smooth mask": like(image, 1000 * ndimage.gaussian_filter(inside.astype(float), 1.0)),
    }


def make_inputs(brains, real=()):
    """The inputs by name: images that should be refused or flagged, in the order of their kinds.

    Parameters
    ----------
    brains : list of nibabel images, simulated
    real : list of nibabel images, optional; they replace some of the simulated ones
    """
    b, found = brains, {}
    contrasts = {
        "inverted": lambda x: 1 - x,
        "T2": lambda x: (1 - x) ** 0.6,
        "FLAIR": lambda x: np.where(x < 0.35, 0.1, 1.15 - 0.7 * x),
        "proton density": lambda x: 0.9 - 0.25 * x,
    }
    for number, (name, curve) in enumerate(contrasts.items()):
        found |= {f"contrast: {name} {n}": by_value(b[2 * number + n], curve) for n in (0, 1)}
    turns = {
        "90° about x": lambda v: np.rot90(v, axes=(1, 2)),
        "90° about y": lambda v: np.rot90(v, axes=(0, 2)),
        "90° about z": lambda v: np.rot90(v, axes=(0, 1)),
        "180° about x": lambda v: v[:, ::-1, ::-1],
        "upside down": lambda v: v[:, :, ::-1],
        "back to front": lambda v: v[:, ::-1],
        "axes x and z exchanged": lambda v: np.swapaxes(v, 0, 2),
        "axes in another order": lambda v: np.transpose(v, (2, 0, 1)),
    }
    found |= {f"orientation: {name}": turned(b[n], turn) for n, (name, turn) in enumerate(turns.items())}
    found |= {f"object: {name}": image for name, image in objects(b[0]).items()}
    found |= {f"segmentation: {name}": image for name, image in segmentations(b[1]).items()}
    found |= {f"small head: {factor:g}": zoomed(b[8 + n], factor) for n, factor in enumerate((0.7, 0.75, 0.8, 0.82))}
    found |= {f"whole head {n}": with_head(b[2 + n]) for n in range(3)}
    found |= {
        "cropped: crown": cropped(b[4], 2, 0.25),
        "cropped: below": cropped(b[5], 2, 0.3, top=False),
        "cropped: right": cropped(b[6], 0, 0.35),
        "cropped: front": cropped(b[7], 1, 0.25),
        "voxels in cm": zoomed(b[0], 0.1),
    }
    others = [("inverted", lambda image: by_value(image, contrasts["inverted"])),
              ("upside down", lambda image: turned(image, turns["upside down"]))]  # fmt: skip
    sources = list(real) or b[12:14]
    kind = "real" if real else "further"
    return found | {f"{kind}: {name}": make(image) for (name, make), image in zip(others, sources, strict=False)}


def verdict(reference, path):
    """What becomes of a scan: ("refused", why), ("flagged", the checks) or ("accepted", "")."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _, checks, _ = check_new(reference, path, Path(folder), name="new")
        except InputError as error:
            return "refused", f"{error.problem}: {error.found}"
    failed = [one["check"] for one in checks if not one["passed"]]
    return ("flagged", "; ".join(failed)) if failed else ("accepted", "")


def share(k, n):
    """A share in words, with its exact interval."""
    low, high = exact_interval(k, n)
    return f"{k} of {n}: {100 * k / n:.1f} % (95 % CI {100 * low:.1f} to {100 * high:.1f} %)"


def measure(study, real=None):
    """Print the three measurements; returns whether they are within what is tolerated."""
    reference = Reference(open_study(study))
    own = reference.false_alarms().any(axis=1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = simulate_brains(scratch)
        brains = [nib.load(path) for path in paths]
        reals = [nib.load(next(Path(real, name).rglob("*T1w.nii*"))) for name in REAL] if real else []
        inputs, noticed = make_inputs(brains, reals), {}
        for name, image in inputs.items():
            path = Path(scratch, "input.nii.gz")
            nib.save(image, path)
            what, why = verdict(reference, path)
            noticed[name] = what != "accepted"
            print(f"  {name:38} {what:9} {why[:100]}", flush=True)
        unchanged = [verdict(reference, path)[0] != "accepted" for path in paths]
        mirrored = []
        for image in brains[:MIRRORED]:
            nib.save(turned(image, lambda values: values[::-1]), Path(scratch, "input.nii.gz"))
            mirrored.append(verdict(reference, Path(scratch, "input.nii.gz"))[0] != "accepted")
    missed = [name for name, found in noticed.items() if not found]
    print(f"refused or flagged, {share(sum(noticed.values()), len(noticed))}; missed: {', '.join(missed) or 'none'}")
    print(f"flagged scans of the study (limits from the other folds), {share(int(own.sum()), len(own))}")
    print(f"flagged new simulated brains, {share(sum(unchanged), len(unchanged))}")
    print(f"flagged mirror images of new simulated brains, {share(sum(mirrored), len(mirrored))}")
    return len(missed) <= MISSED * len(noticed) and own.mean() <= ALARMS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.new_scan", description=__doc__.strip().splitlines()[0])
    parser.add_argument("study", help="folder of a finished study of simulated brains, such as results/demo")
    parser.add_argument("--real", help="BIDS folder of real brains (sub-01 and sub-09 are used)")
    options = parser.parse_args()
    sys.exit(not measure(options.study, options.real))
