"""Write the simulated cohort: table, scans, manifest and planted truth."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from voxelwhy.cohort.simulation.confounds import MEASURED, PATIENTS, confound_table, moves_heads, require_in_view
from voxelwhy.cohort.simulation.plan import TABLE_COLUMNS, plan_cohort, severity_of
from voxelwhy.cohort.simulation.scans import SCANNER_MM, head_reach, make_scan, make_world, mean_jacobian
from voxelwhy.cohort.simulation.signal import class_differences, divide_by_volume
from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.simulation_tables import CONFOUNDS, TRUTH_REGIONS
from voxelwhy.io.tables import write_table

LOG = logging.getLogger(__name__)


def simulate_cohort(
    settings, seed, out_dir, table_path, manifest_path, confounds_path, truth_dir, *, workers=1, progress=None
):
    """Simulate a cohort with known atrophy, with the files of a download.

    Parameters
    ----------
    settings : dict
        The section `simulation` of the config, with all defaults and constants filled in.
    seed : int
        Seed of the cohort. The same seed gives the same bytes for any number of `workers`.
    out_dir : path
        Folder of the scans. A file is rewritten only if its bytes differ; scans of an earlier cohort are removed.
    table_path, manifest_path : path
        The CSV as in a download, and a TSV of what only the simulation knows, such as state, severity and age.
    confounds_path : path
        TSV of each confound as measured in patients and controls (simulation_tables.CONFOUNDS), whether planted or
        not; in the classes small and large, if the volume of a structure defines them.
    truth_dir : path
        Folder of `log_jacobian.nii.gz` (+ .json), the logarithm of volume relative to the template under the disease at
        severity 1 and the mean over its subtypes, on Grid.icbm(working_mm), and of `regions.tsv`. If the volume of a
        structure defines the classes (`signal`), the image is that of `write_structure`.
    workers : int
        Number of processes.
    progress : callable, optional
        Wraps the iteration over scans, as tqdm does: `progress(iterable, total=n, desc="simulating scans")`.

    Raises
    ------
    ConfigError : a region names an unknown label, a missing or truncated file is not in the cohort, or a
        confound moves a head out of the field of view.
    """
    out_dir, truth_dir = Path(out_dir), Path(truth_dir)
    plan = plan_cohort(settings, seed)
    world = make_world(settings)
    if world.structure:
        plan = divide_by_volume(world, seed, plan)
    if moves_heads(settings):
        patients = plan[plan["DX"] == PATIENTS]
        reaches = (head_reach(world, seed, row) for row in patients.to_dict("records"))
        # The outline is accurate to a voxel of the working grid: brains reached 2.3 mm beyond at 2 mm, 4.6 mm at 4 mm.
        clearance = settings["working_mm"] + 1.5
        require_in_view(patients, reaches, SCANNER_MM, settings, clearance_mm=clearance)
    if world.structure:
        write_structure(world, class_differences(plan), truth_dir)
    else:
        write_truth(world, truth_dir)
    written = write_scans(world, seed, plan, out_dir, workers=workers, progress=progress)
    remove_stale(out_dir, set(plan.loc[plan["state"] != "missing", "path"]))
    manifest = plan[["path", "state", "RID", "PTID", "Visit", "Image.ID", "DX", "processed", "age", "sex"]].copy()
    manifest["severity"] = [round(severity_of(settings, row), 6) for row in plan.to_dict("records")]
    # Everybody draws a subtype; without the disease it shows in nothing.
    manifest["subtype"] = plan["subtype"].where(manifest["severity"] > 0, "")
    manifest.insert(1, "sha256", [known["sha256"] for known in written])
    if world.structure:
        manifest["log_volume"] = plan["log_volume"]
    for name in MEASURED:
        manifest[name] = [round(known[name], 6) if name in known else np.nan for known in written]
    Path(confounds_path).parent.mkdir(parents=True, exist_ok=True)
    write_table(confound_table(settings, manifest), confounds_path, CONFOUNDS)
    for path, frame, separator in ((table_path, plan[TABLE_COLUMNS], ","), (manifest_path, manifest, "\t")):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(path, sep=separator, index=False, lineterminator="\n")
    LOG.info("simulated %d subjects, %d scans, seed %d", plan["RID"].nunique(), len(plan), seed)


def write_scans(world, seed, plan, out_dir, *, workers=1, progress=None):
    """Render and write every scan of a plan, in its order.

    Returns
    -------
    list of dict : for each file, `sha256` ("" if it is missing) and, if the file was made, `confounds.MEASURED`
    """
    rows = plan.to_dict("records")
    jobs = (joblib.delayed(_write_scan)(world, seed, row, Path(out_dir)) for row in rows)
    # One thread per process, so that processes do not compete for a core. More threads would change the bytes of sums.
    with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        results = joblib.Parallel(return_as="generator")(jobs)
        return list(progress(results, total=len(rows), desc="simulating scans") if progress else results)


def write_truth(world, truth_dir):
    """Write the planted disease: its log-Jacobian on Grid.icbm(working_mm) and the volume change of every region.

    The image is the mean over the subtypes of the disease. The table gives the change that a multiple of 1 stands for,
    which the settings name; in the default ones it is that of the typical subtype.

    For a null cohort, `reference.nii.gz` is written as well: the disease that an effect of 1 would have planted.
    """
    truth_dir.mkdir(parents=True, exist_ok=True)
    disease, settings = world.disease, world.settings
    _write_log_jacobian(world, disease, truth_dir / "log_jacobian.nii.gz", "planted disease", settings["effect"])
    if world.reference is not None:
        words = "nothing is planted; what an effect of 1 would be"
        _write_log_jacobian(world, world.reference, truth_dir / "reference.nii.gz", words, 1)
    regions = [
        {
            "region": name,
            "volume_mm3": disease.volumes_mm3[name],
            "wanted": disease.wanted[name],
            "achieved": disease.achieved[name],
            "source": settings["regions"][name.rsplit("_", 1)[0]]["source"],
        }
        for name in disease.wanted
    ]
    write_table(pd.DataFrame(regions), truth_dir / "regions.tsv", TRUTH_REGIONS)


def write_structure(world, differences, truth_dir):
    """Write the structure whose volume defines the classes, as `write_truth` writes the planted disease.

    In the image, each voxel has the difference between the classes in the logarithm of the structure's volume, times
    the share of the voxel that the structure fills: it is 0 where the classes differ by chance or as neighbours only.

    Parameters
    ----------
    differences : dict, side -> mean log volume in the class `small` minus that in `large`
    """
    truth_dir.mkdir(parents=True, exist_ok=True)
    signal, settings = world.settings["signal"], world.settings
    logarithm = sum(np.float32(differences[side]) * region for side, region in world.structure.items())
    words = f"{signal}, whose volume defines the classes: difference of the mean log volumes, small minus large"
    _write_image(world, logarithm, truth_dir / "log_jacobian.nii.gz", words, signal=signal)
    rows = [
        {
            "region": f"{signal}_{side}",
            "volume_mm3": float(region.sum(dtype=np.float64)) * settings["working_mm"] ** 3,
            "wanted": np.nan,
            "achieved": float(np.expm1(differences[side])),
            "source": "individual anatomy; nothing is planted",
        }
        for side, region in world.structure.items()
    ]
    write_table(pd.DataFrame(rows), truth_dir / "regions.tsv", TRUTH_REGIONS)


def _write_log_jacobian(world, disease, path, words, effect):
    words = f"{words}: log-Jacobian of its own deformation at severity 1; mean over the subtypes of the disease"
    _write_image(world, np.log(mean_jacobian(world, disease)), path, words, effect=effect)


def _write_image(world, logarithm, path, words, **facts):
    brain = world.brain
    grid = Grid.icbm(brain.working_mm)
    whole = np.zeros(grid.shape, dtype=np.float32)
    crop = tuple(slice(a, a + n) for a, n in zip(brain.offset, brain.grid.shape, strict=True))
    whole[crop] = logarithm
    sidecar = {
        "description": f"{words}, in template space",
        "units": "natural logarithm of volume relative to the template; 0 outside the brain",
        "smallest": float(whole.min()),
        "largest": float(whole.max()),
        "simulated": True,
    }
    save_image(path, whole, grid.affine, sidecar | facts)


def _write_scan(world, seed, row, out_dir):
    path = out_dir / row["path"]
    if row["state"] == "missing":
        return {"sha256": ""}
    content, measured = make_scan(world, seed, row)
    # An unchanged file keeps its modification time, so that its registration is not run again.
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        beside.write_bytes(content)
        os.replace(beside, path)
    return {"sha256": hashlib.sha256(content).hexdigest()} | measured


def written_scans(out_dir, ending=""):
    """The scans in a folder that this program may have written, and no other files."""
    return sorted(Path(out_dir).glob(f"999_S_*/*/999_S_*.nii.gz{ending}"))


def remove_stale(out_dir, wanted):
    """Remove scans of an earlier cohort and the remains of killed jobs, but not the paths in `wanted`."""
    # Only files that this program may have written: a wrong folder must not lose a user's scans.
    for path in written_scans(out_dir, "*"):
        if path.relative_to(out_dir).as_posix() not in wanted:
            path.unlink()
            for folder in (path.parent, path.parent.parent):
                if not any(folder.iterdir()):
                    folder.rmdir()
