"""A cohort in which nothing is planted: classes differ by label alone, and it knows where a find would be false."""

import nibabel as nib
import numpy as np

from helpers.simulation_settings import SETTINGS, settings
from voxelwhy.cohort.simulation import cohort as simulation
from voxelwhy.cohort.simulation import plan, scans


def test_swapping_the_labels_of_a_null_cohort_changes_no_byte(monkeypatch):
    null = settings(effect=0, subjects={"CN": 2, "Dementia": 2}, missing_files=[], truncated_files=[])
    null_world = scans.make_world(null)
    assert not null_world.disease.velocity.any()
    plans = [plan.plan_cohort(null, 7)]
    monkeypatch.setattr(plan, "GROUPS", ("Dementia", "CN", "MCI", "converter"))
    plans.append(plan.plan_cohort(null, 7))
    assert (plans[0]["DX"] != plans[1]["DX"]).all() and (plans[0]["RID"] == plans[1]["RID"]).all()
    images = [[scans.scan_bytes(null_world, 7, row) for row in chosen.to_dict("records")] for chosen in plans]
    assert images[0] == images[1]
    assert len(set(images[0])) == len(images[0])


def test_a_null_cohort_knows_where_a_find_would_be_false(tmp_path):
    """Nothing is planted, and beside it lies what an effect of 1 would have planted, the same to the last voxel."""
    null_world = scans.make_world(settings(effect=0))
    simulation.write_truth(null_world, tmp_path / "null")
    simulation.write_truth(scans.make_world(SETTINGS), tmp_path / "planted")
    assert not nib.load(tmp_path / "null" / "log_jacobian.nii.gz").get_fdata().any()
    reference = nib.load(tmp_path / "null" / "reference.nii.gz").get_fdata()
    np.testing.assert_array_equal(reference, nib.load(tmp_path / "planted" / "log_jacobian.nii.gz").get_fdata())
    assert not (tmp_path / "planted" / "reference.nii.gz").exists()
