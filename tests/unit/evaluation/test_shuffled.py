"""Networks trained on shuffled diagnoses: made as the study's own, and joined over folds."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.training_settings import SETTINGS
from voxelwhy.evaluation import shuffled
from voxelwhy.evaluation.draws import join_folds
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import choose_subjects, explain_scans
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import RELEVANCE, SHUFFLED, write_table
from voxelwhy.networks.weights import save_model
from voxelwhy.regions.aggregate import aggregate_regions
from voxelwhy.splits.permute import permute_diagnoses
from voxelwhy.training import learner
from voxelwhy.training.fold import train_fold

TRAINING = SETTINGS | {"normalisation": "scan", "epochs": 2, "dropout": 0.4, "schedule": "one_cycle"}
METHODS = {"sensitivity_analysis": {}, "occlusion": {"size_mm": 24, "stride_mm": 24}}
HEATMAPS = {"methods": METHODS, "target": "positive", "output": "probability", "most_subjects": None, "scans": []}
FUNCTIONS = {"sensitivity_analysis": sensitivity_analysis, "occlusion": occlusion}


@pytest.fixture
def cohort(small_cohort):
    """The small cohort, in which two patients' scans that fold 0 tests are of one subject."""
    mask, paths, folds = small_cohort
    return mask, paths, folds.assign(subject_id=folds["subject_id"].replace("subject09", "subject01"))


@pytest.fixture
def atlas(cohort):
    mask = cohort[0]
    brain = np.asarray(mask.dataobj) > 0
    labels = np.where(brain, 1 + (np.indices(brain.shape)[0] > 7), 0).astype(np.int32)
    grid = Grid.of(mask)
    regions = pd.DataFrame({"region_id": [1, 2], "region": ["a", "b"]})
    regions["volume_mm3"] = [(labels == k).sum() * grid.voxel_mm3 for k in (1, 2)]
    return nib.Nifti1Image(labels, grid.affine), regions, mask


def subjects_of(folds):
    return pd.DataFrame({"age": np.nan, "sex": None}, index=sorted(folds["subject_id"].unique()))


def explain(cohort, classes, atlas, checkpoints, *, heatmaps=HEATMAPS, **changes):
    mask, paths, folds = cohort
    how = {"fold": 0, "draws": [1], "classes": classes, "seed": 3, "code": {}, "checkpoints": checkpoints}
    return shuffled.explain_shuffled(
        folds, subjects_of(folds), paths, atlas, mask, TRAINING, heatmaps, **(how | {"device": "cpu"} | changes)
    )


def study_itself(cohort, classes, atlas, folder, heatmaps):
    """The regions of the study's own networks, {method: table}, made by its own functions."""
    mask, paths, folds = cohort
    models, predictions = {}, []
    for fold in (0, 1):
        how = {"fold": fold, "classes": classes, "seed": 3, "code": {}, "checkpoints": folder / "c"}
        model, card, _, tested = train_fold(folds, paths, mask, TRAINING, **how)
        models[fold] = folder / f"model{fold}.pt"
        save_model(models[fold], model, card)
        predictions.append(tested)
    scans = choose_subjects(
        pd.concat(predictions, ignore_index=True), heatmaps["most_subjects"], kept=heatmaps["scans"], seed=3
    )
    tables = {}
    for method, options in heatmaps["methods"].items():
        settings = {key: heatmaps[key] for key in ("target", "output", "scans")} | {"options": options}
        (folder / method).mkdir()
        how = {"classes": classes, "maps_dir": folder / method, "device": "cpu"}
        relevance, _, _ = explain_scans(FUNCTIONS[method], models, scans, paths, atlas, settings, **how)
        tables[method] = aggregate_regions(relevance, atlas[1], Groups(classes, target=heatmaps["target"]))
    return tables


@pytest.mark.parametrize(
    ("target", "most"),
    [("positive", None), ("predicted", None), ("true", None), ("positive", 2)],
)
def test_a_draw_without_any_exchange_is_the_study_itself(cohort, classes, atlas, tmp_path, monkeypatch, target, most):
    """Nothing but the labels differs: with these as they are, regions have the study's own enrichment, also beside
    another draw, which is trained on the same batches."""
    exchange = permute_diagnoses
    monkeypatch.setattr(
        shuffled,
        "permute_diagnoses",
        lambda folds, who, *, draw: folds if draw == 1 else exchange(folds, who, draw=draw),
    )
    heatmaps = HEATMAPS | {"target": target, "most_subjects": most, "scans": ["scan09"]}
    tables = [
        explain(cohort, classes, atlas, tmp_path / f"draws{fold}", heatmaps=heatmaps, fold=fold, draws=[1, 2])
        for fold in (0, 1)
    ]
    draws = join_folds(tables)
    own = study_itself(cohort, classes, atlas, tmp_path, heatmaps)
    for method, table in own.items():
        patients = table[table["group"] == "AD"].set_index("region_id")
        assert most is not None or (patients["n_subjects"] == 3).all()
        np.testing.assert_allclose(draws[method].loc[1], patients["enrichment"], rtol=1e-6)
        assert not np.allclose(draws[method].loc[2], patients["enrichment"], rtol=1e-3, equal_nan=True)


def test_each_draw_and_method_has_the_mean_of_the_patients_by_its_labels(cohort, classes, atlas, tmp_path):
    folds = cohort[2]
    found = explain(cohort, classes, atlas, tmp_path / "c", draws=[1, 2, 3])
    write_table(found, tmp_path / "1.tsv", SHUFFLED)
    rows = found[["draw", "method", "region_id"]].to_numpy().tolist()
    assert rows == [[draw, method, region] for draw in (1, 2, 3) for method in METHODS for region in (1, 2)]
    assert (found["fold"] == 0).all() and (found["enrichment"].dropna() >= 0).all()
    for draw in (1, 2, 3):
        drawn = permute_diagnoses(folds, subjects_of(folds), draw=draw)
        patients = drawn[(drawn["fold"] == 0) & (drawn["side"] == "test") & (drawn["label"] == "AD")]
        own = found[(found["draw"] == draw) & (found["method"] == "sensitivity_analysis")]
        assert (own["n_subjects"] == patients["subject_id"].nunique()).all()
    assert found.groupby("draw")["n_subjects"].first().nunique() > 1


def test_draws_in_one_job_are_those_of_jobs_of_their_own(cohort, classes, atlas, tmp_path):
    together = explain(cohort, classes, atlas, tmp_path / "c", draws=[1, 2])
    alone = [explain(cohort, classes, atlas, tmp_path / f"d{draw}", draws=[draw]) for draw in (1, 2)]
    pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True))
    assert not alone[0].drop(columns="draw").equals(alone[1].drop(columns="draw"))


def test_the_scans_are_those_that_the_study_explains(cohort, classes, atlas, tmp_path):
    """One subject of each class in all folds together by the seed, and the scans whose own map is asked for."""
    folds = cohort[2]
    drawn = permute_diagnoses(folds, subjects_of(folds), draw=1)
    tested = drawn[drawn["side"] == "test"].sort_values(["fold", "scan_id"], ignore_index=True)
    asked = sorted(tested.loc[tested["label"] == "AD", "scan_id"])[0]
    for kept in ([], [asked]):
        expected = choose_subjects(tested, 1, kept=kept, seed=3).query("label == 'AD'")
        heatmaps = HEATMAPS | {"most_subjects": 1, "scans": kept, "methods": {"sensitivity_analysis": {}}}
        for fold in (0, 1):
            found = explain(cohort, classes, atlas, tmp_path / f"c{fold}", heatmaps=heatmaps, fold=fold)
            n = expected.loc[expected["fold"] == fold, "subject_id"].nunique()
            assert (found["n_subjects"] == n).all() and (found["enrichment"].isna() == (n == 0)).all()


def test_a_map_without_positive_relevance_is_left_out_as_in_the_study(classes):
    """Of three subjects, one with a map that has no enrichment beside one that has, and one with none at all."""
    regions = pd.DataFrame({"region_id": [1, 2], "region": ["a", "b"], "volume_mm3": 8.0})
    maps = {"p1": [[np.nan, np.nan], [4.0, 1.0]], "p2": [[2.0, 0.5]], "p3": [[np.nan, np.nan]]}
    rows = []
    for subject, own in maps.items():
        for number, values in enumerate(own):
            facts = {"scan_id": f"{subject}-{number}", "subject_id": subject, "label": "AD", "target": "AD"}
            facts |= {"fold": 0, "probability": 0.9, "total": 0.0, "share": np.nan}
            rows.append(regions[["region_id", "region"]].assign(enrichment=values, **facts))
    table = aggregate_regions(RELEVANCE.validate(pd.concat(rows)[list(RELEVANCE.columns)]), regions, Groups(classes))
    own = table[table["group"] == "AD"]
    mean, n = shuffled._mean_of_subjects([[np.array(v) for v in values] for values in maps.values()], 2)
    assert own["enrichment"].tolist() == mean.tolist() == [3.0, 0.75]
    assert n.tolist() == [2, 2]


def test_a_killed_part_goes_on_where_it_ended(cohort, classes, atlas, tmp_path, monkeypatch):
    whole = explain(cohort, classes, atlas, tmp_path / "whole", draws=[1, 2])
    save, calls = learner.save_checkpoint, []

    def killed_after_three(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 3:  # the first network has ended its second epoch, the other one has not
            raise KeyboardInterrupt

    monkeypatch.setattr(learner, "save_checkpoint", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        explain(cohort, classes, atlas, tmp_path / "c", draws=[1, 2])
    assert len(list((tmp_path / "c").iterdir())) == 2
    pd.testing.assert_frame_equal(whole, explain(cohort, classes, atlas, tmp_path / "c", draws=[1, 2]))
    assert len(calls) == 4


def test_nothing_is_left_in_the_folder_for_temporary_files(cohort, classes, atlas, tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    explain(cohort, classes, atlas, tmp_path / "c")
    assert not list((tmp_path / "tmp").iterdir())


# Joined over folds, and compared.
