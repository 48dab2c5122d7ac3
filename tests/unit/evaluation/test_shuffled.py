"""Networks trained on shuffled diagnoses: made as the study's own, joined over folds, and compared by region."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.training_settings import SETTINGS
from voxelwhy.evaluation import shuffled
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import choose_subjects, explain_scans
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import REGIONS, RELEVANCE, SHUFFLED, read_table, write_table
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
    draws = shuffled.join_folds(tables)
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


def part(fold, draw, values, counts, method="m"):
    facts = {"fold": fold, "draw": draw, "method": method, "region_id": range(1, len(values) + 1)}
    return pd.DataFrame(facts | {"enrichment": values, "n_subjects": counts})


def test_folds_count_by_their_subjects():
    """By hand: 1 subject with 4 and 3 subjects with 2 have a mean of 2.5, and not the 3 of two folds."""
    tables = [part(0, 1, [4.0, 1.0], [1, 1]), part(1, 1, [2.0, 5.0], [3, 3])]
    joined = shuffled.join_folds(tables)["m"]
    assert joined.loc[1].tolist() == [(4 * 1 + 2 * 3) / 4, (1 * 1 + 5 * 3) / 4]
    assert joined.loc[1, 1] != np.mean([4, 2])


def test_a_fold_in_which_nobody_has_a_value_does_not_count():
    tables = [part(0, 1, [np.nan, np.nan], [0, 0]), part(1, 1, [2.0, np.nan], [3, 0])]
    joined = shuffled.join_folds(tables)["m"]
    assert joined.loc[1, 1] == 2 and np.isnan(joined.loc[1, 2])


def test_draws_and_methods_of_several_parts_are_told_apart():
    """A part of draws 1 and 2, and one of draw 3, of two methods in two folds."""
    tables = [
        pd.concat(
            [part(fold, draw, [draw + fold, 10.0 * draw], [1, 1], method=m) for draw in draws for m in ("m", "k")]
        )
        for fold in (0, 1)
        for draws in ((1, 2), (3,))
    ]
    joined = shuffled.join_folds(tables)
    assert list(joined) == ["k", "m"]
    for table in joined.values():
        assert table.index.tolist() == [1, 2, 3] and table.columns.tolist() == [1, 2]
        assert table[1].tolist() == [1.5, 2.5, 3.5] and table[2].tolist() == [10, 20, 30]


def regions_of(enrichment, group):
    n = len(enrichment)
    facts = {"group": group, "region_id": range(1, n + 1), "region": [f"r{k}" for k in range(n)], "n_subjects": 8}
    facts |= {"n_scans": 8, "volume_mm3": 8.0, "enrichment": enrichment, "n_shuffled": 0, "rank": range(1, n + 1)}
    return pd.DataFrame(facts).reindex(columns=list(REGIONS.columns))


def test_regions_are_compared_with_the_draws_by_hand(tmp_path):
    """Three regions and four draws. The second region is as high in all draws as in the study."""
    observed, draws = [3.0, 5.0, 1.0], [[1.0, 5.0, 2.0], [2.0, 5.0, 0.5], [1.5, 5.0, 0.9], [0.5, 5.0, 1.2]]
    table = pd.concat([regions_of(observed, "AD"), regions_of([9.0, 9.0, 9.0], "CN")], ignore_index=True)
    frame = pd.DataFrame(draws, index=[1, 2, 3, 4], columns=[1, 2, 3])
    found = shuffled.compare_regions(table, frame, group="AD")
    write_table(found, tmp_path / "regions.tsv", REGIONS)
    assert read_table(tmp_path / "regions.tsv", REGIONS)["p"].notna().sum() == 3
    own = found[found["group"] == "AD"]
    assert own["shuffled_mean"].tolist() == pytest.approx([1.25, 5, 1.15])
    assert own["shuffled_sd"].tolist() == pytest.approx(np.std(draws, axis=0, ddof=1).tolist())
    assert (own["n_shuffled"] == 4).all()
    together = np.array([observed, *draws])
    first, third = (together[:, k] for k in (0, 2))
    z = [(first - first.mean()) / first.std(ddof=1), 0 * first, (third - third.mean()) / third.std(ddof=1)]
    assert own["z"].tolist() == pytest.approx([z[0][0], 0, z[2][0]])
    assert own["p"].tolist() == [1 / 5, 1, 3 / 5]
    largest = np.max(z, axis=0)
    assert own["p_family"].tolist() == [(1 + (largest[1:] >= value[0]).sum()) / 5 for value in z]
    # Other groups, and what was in the table before, stay as they are.
    others = found[found["group"] == "CN"]
    assert others[["z", "p", "p_family", "shuffled_mean"]].isna().all(axis=None) and (others["n_shuffled"] == 0).all()
    assert found[["enrichment", "rank", "region"]].equals(table[["enrichment", "rank", "region"]])
    # Ranked by enrichment alone, the region that no diagnosis explains is the first.
    assert own["enrichment"].idxmax() == 1 and own["p_family"].idxmin() == 0


def test_draws_are_matched_to_regions_by_their_ids():
    table = regions_of([3.0, 1.0], "AD")
    frame = pd.DataFrame([[0.0, 2.0], [0.5, 2.5]], index=[1, 2], columns=[2, 1])
    assert shuffled.compare_regions(table, frame, group="AD")["shuffled_mean"].tolist() == [2.25, 0.25]


def test_one_draw_has_no_standard_deviation_and_none_leaves_the_table():
    table = regions_of([3.0, 1.0], "AD")
    assert shuffled.compare_regions(table, None, group="AD").equals(table)
    found = shuffled.compare_regions(table, pd.DataFrame([[1.0, 2.0]], index=[1], columns=[1, 2]), group="AD")
    assert found["shuffled_sd"].isna().all() and found["p"].tolist() == [0.5, 1]
