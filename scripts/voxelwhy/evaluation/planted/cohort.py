"""Plant a known loss in half of a study's controls and shams in the other half: scans, table and truth."""

from __future__ import annotations

import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.evaluation.planted.flows import draw_sham, largest_change, plan_loss, rms_displacement
from voxelwhy.evaluation.planted.native import Registered, deform_scan
from voxelwhy.evaluation.planted.pairs import PLANTED, pair_controls, random_of
from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.simulation_tables import TRUTH_REGIONS
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import PLANTED_SCANS
from voxelwhy.registration.store import register_shared

#: With fewer controls, a network of half of them on each side learns too little for an answer.
LEAST_CONTROLS = 40
NATIVE, TEMPLATE = "native", "template"


def plant_controls(selected, images, settings, out_dirs, *, store="", code=None, workers=1):
    """Plant the loss in one control of each pair, and a sham in the other, each in the space of its own scan.

    Each control is registered once more as the study registers it, to get its transforms, and deformed by one
    interpolation of the original scan. Scans that others have registered (registration.transform none) are deformed in
    template space.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED; of each control, the first scan is used
    images : {"template_path", "mask_path", "head_path"}, as for `register_shared`
    settings : dict; negative (name of the controls' class), registration (of the study), loss (for `flows.plan_loss`),
        least (number of controls below which nothing is planted) and seed
    out_dirs : {assignment: path of a new folder}; an assignment is a choice of pairs and of the planted ones. Each
        folder gets `table.csv` (for a cohort of source folder), `scans/`, `planted.tsv` by trust_tables.PLANTED_SCANS,
        and `truth/` with `log_jacobian.nii.gz` and `regions.tsv`
    store, code : as for `register_shared`. The store is used only if the study keeps its transforms: deformations fill
        much space, and nobody else would read them
    workers : int, number of processes; the same seed gives the same bytes for any number

    Raises
    ------
    InputError : fewer controls than `least`; a control cannot be registered any more.
    ConfigError : `loss` names an unknown region, or no loss.
    """
    controls = first_scans(selected, settings)
    pairs = {one: pair_controls(controls, seed=settings["seed"], assignment=one) for one in out_dirs}
    loss = plan_loss(settings["loss"])
    for out_dir in out_dirs.values():
        Path(out_dir, "scans").mkdir(parents=True)
        write_loss(loss, Path(out_dir, "truth"))
    rows = {(one, row["scan_id"]): row for one, own in pairs.items() for row in own.to_dict("records")}
    store = store if settings["registration"].get("keep_transforms") else ""
    how = {"settings": settings, "images": images, "store": store, "code": code}
    jobs = [
        joblib.delayed(_plant)(path, {Path(out_dirs[one]): row for (one, scan), row in rows.items() if scan == own},
                               loss, **how)
        for own, path in controls[["scan_id", "path"]].itertuples(index=False)
    ]  # fmt: skip
    # One thread per process: more would change the bytes of registrations.
    with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        written = joblib.Parallel()(jobs)
    facts = {place: own for of_control in written for place, own in of_control.items()}
    for one, own in pairs.items():
        _write_tables(own, [facts[Path(out_dirs[one]), scan] for scan in own["scan_id"]], Path(out_dirs[one]))


def first_scans(selected, settings):
    """The first scan of each control, in the order of the table; InputError if there are too few controls."""
    controls = selected[selected["label"] == settings["negative"]]
    first = controls.sort_values("age", kind="stable").drop_duplicates("subject_id").sort_index(ignore_index=True)
    if len(first) < settings["least"]:
        raise InputError(
            "trust.planted: too few controls to plant a loss in half of them",
            found=f"{len(first)} {settings['negative']} subjects with a registered scan",
            allowed=f"at least {settings['least']}",
            hint="set trust.planted to 0; with so few scans, no network would learn what was planted",
        )
    return first


def _plant(path, rows, loss, *, settings, images, store, code):
    """Write the deformed scans of one control, {folder: row of its pairs}; returns {(folder, scan_id): facts}."""
    if not rows:  # left out of every pair
        return {}
    registration, scan = settings["registration"], next(iter(rows.values()))["scan_id"]
    taken = registration["transform"] == "none"
    with tempfile.TemporaryDirectory() as scratch:
        registered, facts = Registered(), {}
        if not taken:
            how = registration | {"keep_transforms": True, "maps": []}
            place = Path(scratch, scan)
            place.mkdir()
            made = register_shared(path, settings=how, out_dir=place, scan_id=scan, store=store, code=code, **images)
            if made["status"] != "ok":
                raise InputError("a control cannot be registered any more", file=path, found=made["reason"])
            registered = Registered(place / "transforms")
        for folder, row in rows.items():
            planted = row["role"] == PLANTED
            rng = random_of(settings["seed"], row["assignment"], row["pair"])
            flow = loss.flow if planted else draw_sham(loss, rng)
            deform_scan(path, folder / "scans" / f"{scan}.nii.gz", flow, registered)
            facts[folder, scan] = {
                "space": TEMPLATE if taken else NATIVE,
                "rms_mm": loss.rms_mm if planted else rms_displacement(flow, loss.brain),
                "largest_change": max(map(abs, loss.achieved.values())) if planted else largest_change(flow, loss),
            }
    return facts


def _write_tables(pairs, facts, folder):
    written = pairs[["scan_id", "subject_id", "pair", "role", "age", "sex"]].join(pd.DataFrame(facts))
    write_table(written, folder / "planted.tsv", PLANTED_SCANS)
    columns = {"role": "label", "subject_id": "subject"}
    table = written.assign(path=written["scan_id"] + ".nii.gz").rename(columns=columns)
    table[["path", "label", "subject", "age", "sex"]].to_csv(folder / "table.csv", index=False, lineterminator="\n")


def write_loss(loss, folder):
    """Write the truth: the log-Jacobian of the loss on Grid.icbm, and the change of each region."""
    folder.mkdir()
    grid = Grid.icbm(loss.brain.working_mm)
    whole = np.zeros(grid.shape, dtype=np.float32)
    crop = tuple(slice(a, a + n) for a, n in zip(loss.brain.offset, loss.brain.grid.shape, strict=True))
    whole[crop] = np.log(loss.jacobian)
    card = {
        "description": "loss of volume planted in scans of controls: log-Jacobian of its deformation in template space",
        "units": "natural logarithm of volume relative to the template; 0 outside the brain",
        "smallest": float(whole.min()),
        "largest": float(whole.max()),
        "simulated": False,
    }
    save_image(folder / "log_jacobian.nii.gz", whole, grid.affine, card)
    rows = [
        {
            "region": name,
            "volume_mm3": loss.volumes_mm3[name],
            "wanted": loss.wanted[name],
            "achieved": loss.achieved[name],
            "source": "trust.planted_loss",
        }
        for name in loss.wanted
    ]
    write_table(pd.DataFrame(rows), folder / "regions.tsv", TRUTH_REGIONS)
