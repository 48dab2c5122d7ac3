"""Networks trained on shuffled diagnoses: who gets which label, and that they come out as the study's own would."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.training_settings import SETTINGS
from voxelwhy.evaluation import shuffled
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import SHUFFLED, write_table
from voxelwhy.training.checkpoints import checkpoint_key
from voxelwhy.training.fold import train_fold

TRAINING = SETTINGS | {"normalisation": "scan", "epochs": 2, "dropout": 0.0}
HEATMAPS = {
    "methods": {"sensitivity_analysis": {}, "occlusion": {"size_mm": 24, "stride_mm": 24}},
    "target": "predicted",
    "output": "probability",
    "most_subjects": None,
    "scans": [],
}


def test_labels_are_exchanged_between_subjects_and_tested_ones_keep_theirs(small_cohort):
    folds = small_cohort[2]
    given = folds.sort_values(["fold", "scan_id"], ignore_index=True)
    changed = 0
    for draw in (1, 2, 3):
        found = shuffled.shuffle_labels(folds, seed=4, draw=draw).sort_values(["fold", "scan_id"], ignore_index=True)
        assert found.drop(columns="label").equals(given.drop(columns="label"))
        test = found["side"] == "test"
        assert (found.loc[test, "label"] == given.loc[test, "label"]).all()
        for _, rows in found[~test].groupby("fold"):
            by_subject = rows.groupby("subject_id")["label"].agg(["nunique", "first"])
            assert (by_subject["nunique"] == 1).all()
            before = given.loc[rows.index].groupby("subject_id")["label"].first()
            assert sorted(by_subject["first"]) == sorted(before)
        changed += (found.loc[~test, "label"] != given.loc[~test, "label"]).sum()
        assert found.equals(
            shuffled.shuffle_labels(folds, seed=4, draw=draw).sort_values(["fold", "scan_id"], ignore_index=True)
        )
    assert changed > 0
    first, second = (shuffled.shuffle_labels(folds, seed=4, draw=draw)["label"] for draw in (1, 2))
    assert (first != second).any()


@pytest.fixture
def atlas(small_cohort):
    mask = small_cohort[0]
    brain = np.asarray(mask.dataobj) > 0
    labels = np.where(brain, 1 + (np.indices(brain.shape)[0] > 9), 0).astype(np.int32)
    grid = Grid.of(mask)
    regions = pd.DataFrame({"region_id": [1, 2], "region": ["a", "b"]})
    regions["volume_mm3"] = [(labels == k).sum() * grid.voxel_mm3 for k in (1, 2)]
    return nib.Nifti1Image(labels, grid.affine), regions, mask


def explain(small_cohort, classes, atlas, checkpoints, **changes):
    mask, paths, folds = small_cohort
    how = {"classes": classes, "seed": 3, "draw": 1, "code": {}, "checkpoints": checkpoints, "device": "cpu"}
    return shuffled.explain_shuffled(folds, paths, atlas, mask, TRAINING, HEATMAPS, **(how | changes))


def test_each_method_has_a_mean_for_each_region_by_its_draw(small_cohort, classes, atlas, tmp_path):
    first = explain(small_cohort, classes, atlas, tmp_path / "c")
    write_table(first, tmp_path / "1.tsv", SHUFFLED)
    assert first[["method", "region_id"]].to_numpy().tolist() == [
        [method, region] for method in HEATMAPS["methods"] for region in (1, 2)
    ]
    assert (first["relevance"] >= 0).all() and (first["relevance"] > 0).any()
    pd.testing.assert_frame_equal(first, explain(small_cohort, classes, atlas, tmp_path / "d"))
    assert not first.equals(explain(small_cohort, classes, atlas, tmp_path / "c", draw=2))


def test_only_the_training_labels_differ_from_the_study(small_cohort, classes, atlas, tmp_path, monkeypatch):
    """With labels left as they are, the map is that of the study's own networks: nothing else differs."""
    monkeypatch.setattr(shuffled, "shuffle_labels", lambda folds, **_: folds)
    found = explain(small_cohort, classes, atlas, tmp_path / "c").set_index(["method", "region_id"])["relevance"]
    mask, paths, folds = small_cohort
    labels, _, brain = np.asarray(atlas[0].dataobj), atlas[1], np.asarray(mask.dataobj) > 0
    total, n = np.zeros(brain.shape), 0
    for fold in sorted(folds["fold"].unique()):
        how = {"fold": int(fold), "classes": classes, "seed": 3 + 1_000_003, "code": {}, "checkpoints": tmp_path / "d"}
        model, _, _, tested = train_fold(folds, paths, mask, TRAINING, **how)
        for scan in tested[tested["label"] == classes["positive"]].itertuples():
            volumes = shuffled_volumes(paths[scan.scan_id], brain)
            target = int(scan.probability >= 0.5)
            heatmap = shuffled_map(model, volumes, target) * brain
            total, n = total + heatmap / np.abs(heatmap).sum(), n + 1
    for region in (1, 2):
        expected = (total / n)[brain & (labels == region)].mean()
        assert found["sensitivity_analysis", region] == pytest.approx(expected, rel=1e-4)


def test_the_scans_are_those_that_the_study_explains(small_cohort, classes, atlas, tmp_path, monkeypatch):
    """One subject of each class by the seed, and the scans whose own map is asked for."""
    tested = small_cohort[2].query("side == 'test'").rename(columns={"fold": "of"})
    positive = tested[tested["label"] == classes["positive"]]
    drawn = shuffled.choose_subjects(tested, 1, seed=3)["scan_id"]
    asked = next(scan for scan in positive["scan_id"] if scan not in set(drawn))
    seen, explained = [], shuffled.explain_scans
    monkeypatch.setattr(
        shuffled, "explain_scans", lambda method, models, scans, *rest, **options: seen.append(set(scans["scan_id"]))
        or explained(method, models, scans, *rest, **options),
    )  # fmt: skip
    monkeypatch.setitem(HEATMAPS, "most_subjects", 1)
    monkeypatch.setitem(HEATMAPS, "scans", [asked])
    explain(small_cohort, classes, atlas, tmp_path / "c")
    assert seen == [{asked} | set(drawn) & set(positive["scan_id"])] * len(HEATMAPS["methods"])


def shuffled_volumes(path, brain):
    from voxelwhy.training.volumes import Normaliser, Volumes

    volumes = Volumes([path], brain)
    return Normaliser("scan")(volumes[0], volumes.mask)


def shuffled_map(model, image, target):
    from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis

    return sensitivity_analysis(model, image, target_class=target, device="cpu")


def test_a_killed_draw_goes_on_where_it_ended(small_cohort, classes, atlas, tmp_path, monkeypatch):
    whole = explain(small_cohort, classes, atlas, tmp_path / "whole")
    trained = shuffled.train_fold

    def killed(*arguments, fold, **options):
        if fold == 1:
            raise KeyboardInterrupt
        return trained(*arguments, fold=fold, **options)

    monkeypatch.setattr(shuffled, "train_fold", killed)
    with pytest.raises(KeyboardInterrupt):
        explain(small_cohort, classes, atlas, tmp_path / "c")
    assert len(list((tmp_path / "c").iterdir())) == 1
    monkeypatch.setattr(shuffled, "train_fold", trained)
    pd.testing.assert_frame_equal(whole, explain(small_cohort, classes, atlas, tmp_path / "c"))
    assert checkpoint_key([1]) != checkpoint_key([2])


def test_nothing_is_left_in_the_folder_for_temporary_files(small_cohort, classes, atlas, tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    explain(small_cohort, classes, atlas, tmp_path / "c")
    assert not list((tmp_path / "tmp").iterdir())
