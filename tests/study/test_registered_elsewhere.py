"""A study of PET images that others have registered: on their own grid, without ANTs, from the table to the report."""

from __future__ import annotations

import json

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.studies import Study
from helpers.templates import template_on
from voxelwhy.io.images import Grid

pytestmark = pytest.mark.slow

#: As SPM stores its images: x to the left, the first voxel on the right.
SHAPE, AFFINE = (32, 38, 32), np.array([[-6.0, 0, 0, 92], [0, 6, 0, -126], [0, 0, 6, -78], [0, 0, 0, 1]])
CLASSES = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
CONFIG = {
    "study": "uptake",
    "cohort": {"source": "folder", "table": "scans.tsv", "classes": CLASSES},
    "scans": {"modality": "pet"},
    "registration": {"transform": "none", "grid": "scans", "resolution_mm": 6},
    "atlas": {"name": "AAL", "vanished": "warn"},
    "splits": [{"name": "kfold", "kind": "kfold", "folds": 2}],
    "training": {"epochs": 30},
    "heatmaps": {"methods": {"sensitivity_analysis": {}, "occlusion": {"size_mm": 48, "stride_mm": 24}}},
    "evaluation": {"bootstrap": 100, "permutations": 100},
    "trust": {"seeds": 0},
}


def write_scans(folder, n=10):
    """Smooth uptake in the brain, less of it at the back in patients, and no value outside; one file is cut off."""
    template = template_on(6)[0]
    brain = nib.processing.resample_from_to(template, (SHAPE, AFFINE), order=1).get_fdata() > 0.2
    place = nib.affines.apply_affine(AFFINE, np.moveaxis(np.indices(SHAPE), 0, -1))
    rng, lines = np.random.default_rng(5), ["path\tlabel\tsubject\tage"]
    for number in range(n):
        label = "AD" if number % 2 else "CN"
        uptake = 1 + 0.1 * gaussian_filter(rng.normal(size=SHAPE), 2) / 0.02
        uptake -= 0.5 * (label == "AD") * (place[..., 1] < -40)
        image = nib.Nifti1Image(np.where(brain, uptake, np.nan).astype(np.float32), AFFINE)
        nib.save(image, folder / f"pet{number}.nii.gz")
        lines.append(f"pet{number}.nii.gz\t{label}\tp{number}\t{70 + number}")
    whole = (folder / f"pet{n - 1}.nii.gz").read_bytes()
    (folder / f"pet{n - 1}.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "scans.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def uptake(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("uptake"), CONFIG)
    write_scans(study.folder)
    study.text = study.run()
    return study


def test_the_study_has_the_grid_of_its_scans(uptake):
    grid = Grid.of(uptake.result("template/t1.nii.gz"))
    assert grid.same(Grid.of(nib.as_closest_canonical(nib.load(uptake.folder / "pet0.nii.gz"))))
    for name in ("template/brain_mask.nii.gz", "atlas/labels.nii.gz", "registered/p0_pet0/t1.nii"):
        path = uptake.result(name) if "p0" not in name else next(uptake.result("registered").glob("*p0*/t1.nii"))
        assert Grid.of(path).same(grid)
    original = nib.as_closest_canonical(nib.load(uptake.folder / "pet0.nii.gz")).get_fdata()
    taken = nib.load(next(uptake.result("registered").glob("*p0*/t1.nii"))).get_fdata()
    np.testing.assert_allclose(taken, np.nan_to_num(original), atol=1e-4)


def test_nothing_of_t1_weighted_scans_is_asked_or_measured(uptake):
    assert not uptake.result("template/head.nii.gz").exists()
    assert json.loads(uptake.result("cohort/skull.json").read_text())["skull_stripped"] is None
    rows = uptake.rows("cohort/selected.tsv")
    assert len(rows) == 9 and {row["correlation_brain"] for row in rows} == {""}
    (lost,) = uptake.rows("cohort/excluded.tsv")
    assert (lost["subject_id"], lost["stage"], lost["reason"]) == ("p9", "register_scan", "the image cannot be read")


def test_the_report_says_what_the_scans_are(uptake):
    report = uptake.result("report.html").read_text()
    assert "The scans are PET images." in report and "tracer uptake of each scan" in report
    assert "their grid of 6 mm is that of the study" in report
    assert "T1-weighted intensity" not in report and "not measured for images of another kind" in report
    caption = json.loads(uptake.result("figures/registration.json").read_text())["caption"]
    assert "those that could not be read first: 10 of 10 scans" in caption and "Correlation" not in caption


def test_patients_differ_where_they_were_made_to(uptake):
    """Blanking uptake at the back changes the answer most."""
    image = nib.load(uptake.result("splits/kfold/heatmaps/occlusion/maps/mean_all.nii.gz"))
    map_, mask = np.abs(image.get_fdata()), nib.load(uptake.result("template/brain_mask.nii.gz")).get_fdata() > 0
    y = nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(image.shape), 0, -1))[..., 1]
    assert map_[mask & (y < -40)].mean() > 1.5 * map_[mask & (y > 0)].mean()


def test_scans_on_two_grids_are_refused_with_both(uptake):
    image = nib.load(uptake.folder / "pet3.nii.gz")
    whole = (uptake.folder / "pet3.nii.gz").read_bytes()
    nib.save(image.slicer[:, :, 1:], uptake.folder / "pet3.nii.gz")
    try:
        text = uptake.run("--until", "find_grid", code=1)
    finally:
        (uptake.folder / "pet3.nii.gz").write_bytes(whole)
    assert "the scans are not on one grid: 1 of 10 differ" in text
    assert "(32, 38, 32)" in text and "(32, 38, 31)" in text
