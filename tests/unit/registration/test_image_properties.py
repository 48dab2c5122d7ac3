"""Noise and gradients of brightness against images with known ones, and what audits raise with them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from voxelwhy.evaluation.people import covariate_names, join_people
from voxelwhy.evaluation.shortcuts import audit_shortcuts
from voxelwhy.io.tables import COVARIATES, write_table
from voxelwhy.registration.image_properties import (
    GRADIENTS,
    IMAGE_PROPERTIES,
    find_places,
    measure_image,
    measure_scans,
)

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
CLASSES = {"positive": "AD", "negative": "CN"}


@pytest.fixture
def head(rng):
    """A template with tissue of two levels, and its brain: a ball."""
    axes = np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij")
    brain = sum(axis**2 for axis in axes) < 100
    template = np.where(axes[0] + axes[1] > 0, 100.0, 60.0) * brain
    return template, brain, axes


def test_gradients_are_those_of_the_field_in_units_of_100_mm(head):
    template, brain, axes = head
    wanted = (0.1, -0.2, 0.3)
    field = np.exp(sum(slope * 4 * axis / 100 for slope, axis in zip(wanted, axes, strict=True)))
    for gain in (1.0, 7.0):
        found = measure_image(gain * template * field, find_places(template, brain, AFFINE))
        # The field is regressed on itself, so that only the trimming of its ends matters.
        assert [found[name] for name in GRADIENTS] == pytest.approx(wanted, rel=1e-6)
    plain = measure_image(template, find_places(template, brain, AFFINE))
    assert [plain[name] for name in GRADIENTS] == pytest.approx([0, 0, 0], abs=1e-9)


def test_noise_is_in_proportion_to_what_was_added_and_does_not_depend_on_the_gain(head, rng):
    """Second differences of white noise have the variance 6 σ²; the 20th percentile of their size is 0.2533 √6 σ."""
    brain = head[1]
    flat = 100.0 * brain
    for sd in (2.0, 4.0):
        found = measure_image(
            3 * (flat + sd * rng.standard_normal(flat.shape)) * brain, find_places(flat, brain, AFFINE)
        )
        assert found["image_noise"] == pytest.approx(stats.norm.ppf(0.6) * np.sqrt(6) * sd / 100, rel=0.1)
    assert measure_image(flat, find_places(flat, brain, AFFINE))["image_noise"] == 0
    empty = measure_image(0 * flat, find_places(flat, brain, AFFINE))
    assert list(empty) == list(IMAGE_PROPERTIES) and np.isnan(list(empty.values())).all()


@pytest.mark.parametrize(
    "planted, raised",
    [
        ("nothing", set()),
        ("bias_field", {"brightness gradient to the crown"}),
        ("noise", {"image noise"}),
        ("age", {"age"}),
    ],
)
def test_a_confound_that_all_patients_share_is_raised_and_nothing_else(planted, raised, head, rng, tmp_path):
    template, brain, axes = head
    nib.save(nib.Nifti1Image(template, AFFINE), tmp_path / "t1.nii.gz")
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), AFFINE), tmp_path / "mask.nii.gz")
    n, rows = 40, []
    for k in range(n):
        patient = k % 2 == 1
        slopes = rng.normal(0, 0.02, 3) - [0, 0, 0.15 * (patient and planted == "bias_field")]
        field = np.exp(sum(slope * 4 * axis / 100 for slope, axis in zip(slopes, axes, strict=True)))
        sd = 3 * (1 + (patient and planted == "noise"))
        values = np.maximum((template + sd * rng.standard_normal(template.shape)) * field * brain, 0)
        nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), tmp_path / f"{k}.nii.gz")
        age = rng.normal(72, 5) + 8 * (patient and planted == "age")
        facts = {"scan_id": f"s{k}", "subject_id": f"p{k}", "t1": str(tmp_path / f"{k}.nii.gz"), "age": age}
        facts |= {"sex": rng.choice(["F", "M"]), "correlation_brain": rng.normal(), "mask_dice": rng.random()}
        # A network that tells the classes apart, and whose score follows nothing within a class.
        rows.append(facts | {"label": "AD" if patient else "CN", "logit_positive": 4.0 * patient + rng.normal()})
    selected = pd.DataFrame(rows)
    measured = measure_scans(selected, tmp_path / "t1.nii.gz", tmp_path / "mask.nii.gz")
    write_table(measured, tmp_path / "measured.tsv", COVARIATES)
    predictions = selected[["scan_id", "subject_id", "label", "logit_positive"]]
    predictions = predictions.assign(fold=np.arange(n) // 2 % 2, logit_negative=0.0, probability=0.5)
    people = join_people(predictions, selected, measured)
    found = audit_shortcuts(people, classes=CLASSES, covariates=covariate_names(measured), n_permutations=1999)
    assert set(found.loc[found["p_family"] <= 0.05, "property"]) == raised
    assert set(found.loc[found["p_family"] <= 0.05, "check"]) <= {"differs"}
    given = found.set_index("check").loc["given_nuisances", "property"]
    assert "noise" not in given and "age" in given
