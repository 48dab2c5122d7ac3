"""Pairs of controls, the folders of planted scans, the study that runs on them, and what is kept of it."""

from __future__ import annotations

import functools
import hashlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.paths import SCHEMA
from voxelwhy.cohort.simulation.constants import REGIONS, load_study
from voxelwhy.config.model import network_settings
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.evaluation.planted.cohort import plant_controls
from voxelwhy.evaluation.planted.flows import plan_loss
from voxelwhy.evaluation.planted.pairs import pair_controls
from voxelwhy.evaluation.planted.results import describe_loss, gather_assignment, summarise_planted
from voxelwhy.evaluation.planted.study import planted_study
from voxelwhy.io.images import Grid, read_volume
from voxelwhy.io.simulation_tables import TRUTH_REGIONS
from voxelwhy.io.tables import METRICS, TRUTH, read_table, write_table
from voxelwhy.io.trust_tables import PLANTED_CONTROLS, PLANTED_SCANS
from voxelwhy.registration.template import make_template


def people(n=41, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "scan_id": [f"s{number}" for number in range(n)],
            "subject_id": [f"p{number}" for number in range(n)],
            "age": np.round(rng.uniform(60, 90, n), 1),
            "sex": rng.choice(["F", "M"], n),
        }
    )


def test_pairs_have_one_sex_about_one_age_and_one_of_each_role():
    controls = people()
    pairs = pair_controls(controls, seed=3, assignment=1)
    assert 38 <= len(pairs) <= 40 and pairs["subject_id"].is_unique
    for _, pair in pairs.groupby("pair"):
        assert sorted(pair["role"]) == ["planted", "sham"] and pair["sex"].nunique() == 1
    apart = pairs.groupby("pair")["age"].agg(np.ptp)
    by_chance = controls["age"].diff().abs().mean()
    assert apart.mean() < by_chance / 3


def test_assignments_and_seeds_choose_other_controls_and_repeat_themselves():
    chosen = {}
    for seed, assignment in ((3, 1), (3, 2), (4, 1)):
        first, again = (pair_controls(people(), seed=seed, assignment=assignment) for _ in range(2))
        pd.testing.assert_frame_equal(first, again)
        chosen[seed, assignment] = frozenset(first.loc[first["role"] == "planted", "subject_id"])
    assert len(set(chosen.values())) == 3
    # Each control is planted about half of the time.
    times = pd.concat([pair_controls(people(), seed=9, assignment=number) for number in range(60)])
    share = (times["role"] == "planted").groupby(times["subject_id"]).mean()
    assert share.min() > 0.25 and share.max() < 0.75


def test_controls_without_age_and_sex_are_paired_at_random():
    controls = people(12).assign(age=np.nan, sex=None)
    pairs = [pair_controls(controls, seed=1, assignment=number) for number in (1, 2)]
    assert all(len(own) == 12 for own in pairs)
    partners = [{frozenset(pair["subject_id"]) for _, pair in own.groupby("pair")} for own in pairs]
    assert partners[0] != partners[1]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Four controls and a patient, each the template in another place, and the template on a grid of 6 mm."""
    folder = tmp_path_factory.mktemp("cohort")
    t1, mask = make_template(6)
    nib.save(t1, folder / "t1.nii.gz")
    nib.save(mask, folder / "mask.nii.gz")
    values = np.asarray(make_template(3)[0].dataobj)
    values = np.rint(600 * values / values.max()).astype(np.int16)
    rows = []
    for number in range(5):
        shifted = Grid.icbm(3).affine.copy()
        shifted[:3, 3] += (3 * number, -2 * number, number)
        path = folder / f"scan{number}.nii.gz"
        nib.save(nib.Nifti1Image(values, shifted), path)
        age = 70.0 + number
        rows.append({"scan_id": f"s{number}", "subject_id": f"p{number}", "label": "CN", "age": age, "sex": "F",
                     "path": str(path)})  # fmt: skip
    rows[4]["label"] = "AD"
    rows.append(rows[0] | {"scan_id": "s0later", "age": 72.0})
    images = {"template_path": folder / "t1.nii.gz", "mask_path": folder / "mask.nii.gz", "head_path": None}
    return pd.DataFrame(rows), images


def settings(transform="affine", **changes):
    registration = {"transform": transform, "n4": False, "keep_transforms": False, "maps": []}
    loss = {"hippocampus": -0.25}
    return {"negative": "CN", "registration": registration, "loss": loss, "least": 4, "seed": 1} | changes


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def planned(monkeypatch):
    """The flow of the loss is planned once for all tests."""
    monkeypatch.setattr(f"{plant_controls.__module__}.plan_loss", lambda loss: hippocampus(loss["hippocampus"]))


@functools.cache
def hippocampus(change):
    return plan_loss({"hippocampus": change})


def test_each_control_is_planted_in_its_own_space(cohort, planned, tmp_path):
    selected, images = cohort
    made = tmp_path / "planting"
    plant_controls(selected, images, settings(), {1: made})
    table = pd.read_csv(made / "table.csv")
    assert sorted(table["label"]) == ["planted"] * 2 + ["sham"] * 2
    assert set(table["subject"]) == {"p0", "p1", "p2", "p3"} and table["age"].max() == 73, "the first scans"
    planted = read_table(made / "planted.tsv", PLANTED_SCANS).set_index("role")
    assert set(planted["space"]) == {"native"} and planted["rms_mm"].std() < 1e-3 * planted["rms_mm"].mean()
    assert planted.loc["planted", "largest_change"].min() == pytest.approx(0.25, abs=0.002)
    assert planted.loc["sham", "largest_change"].max() < 0.005
    assert np.asarray(read_volume(made / "truth" / "log_jacobian.nii.gz").dataobj).min() < -0.2
    before = selected.set_index("scan_id")["path"]
    where = {}
    for row in table.itertuples():
        scan, own = (nib.load(path) for path in (before[row.path.split(".")[0]], made / "scans" / row.path))
        assert np.array_equal(scan.affine, own.affine) and own.get_data_dtype() == np.int16
        changed = np.argwhere(np.asarray(scan.dataobj) != np.asarray(own.dataobj))
        assert len(changed) > 1000
        where[row.subject] = nib.affines.apply_affine(scan.affine, changed).mean(axis=0)
    # The scans of p0 and p3 lie 9, -6 and 3 mm apart, and so do the places that were changed.
    np.testing.assert_allclose(where["p3"] - where["p0"], (9, -6, 3), atol=3)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_processes(cohort, planned, tmp_path):
    """Scans that others have registered are planted in template space; each assignment has scans of its own."""
    selected, images = cohort[0].head(2), cohort[1]
    for name, workers in (("one", 1), ("two", 2)):
        folders = {assignment: tmp_path / name / str(assignment) for assignment in (1, 2)}
        plant_controls(selected, images, settings("none", least=2), folders, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    first, second = (digests(tmp_path / "one" / name / "scans") for name in "12")
    assert first.keys() == second.keys() and first != second
    assert set(read_table(tmp_path / "one" / "1" / "planted.tsv", PLANTED_SCANS)["space"]) == {"template"}


def test_too_few_controls_are_refused_with_their_number(cohort, tmp_path):
    selected, images = cohort
    with pytest.raises(InputError, match=r"too few controls(.|\n)*4 CN subjects(.|\n)*at least 40(.|\n)*planted to 0"):
        plant_controls(selected, images, settings(least=40), {1: tmp_path / "planting"})
    assert not (tmp_path / "planting").exists()


CONFIG = {
    "study": "outer",
    "seed": 4,
    "cohort": {
        "source": "folder",
        "table": "scans.csv",
        "classes": {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}},
    },
    "registration": {"resolution_mm": 3, "transform": "syn_quick", "skip": {"s3": "motion"}},
    "splits": [
        {"kind": "kfold", "folds": 30, "heatmaps": False},
        {"kind": "holdout", "test_subjects": 30},
        {"kind": "kfold", "name": "few", "folds": 5},
    ],
    "training": {"network": "small", "epochs": 3},
    "heatmaps": {"methods": {"grad_cam": {}}, "scans": ["s1"]},
    "evaluation": {"prevalence": 0.1},
    "trust": {"planted": 2},
}


def test_the_study_of_an_assignment_is_the_study_on_other_scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outer = load_study(CONFIG, SCHEMA)
    outer["training"] |= network_settings(outer)
    folder = "results/outer/planted/2/planting"
    own = planted_study(outer, 2, folder, n_pairs=24, skull_stripped=True)
    truth = tmp_path / folder / "truth"
    with pytest.raises(ConfigError, match=r"cohort\.truth(.|\n)*no log_jacobian"):
        load_study(own, SCHEMA)
    truth.mkdir(parents=True)
    (truth / "log_jacobian.nii.gz").touch()
    inner = load_study(yaml.safe_load(yaml.safe_dump(own)), SCHEMA)
    assert inner["study"] == "outer/planted/2" and inner["seed"] == 4
    for section in ("training", "atlas", "figures"):
        assert inner[section] == outer[section]
    assert inner["registration"] == outer["registration"] | {"skip": {}}
    assert inner["heatmaps"] == outer["heatmaps"] | {"scans": []}
    assert [(split["name"], split.get("folds"), split.get("test_subjects")) for split in inner["splits"]] == [
        ("holdout", None, 8), ("few", 5, None)
    ]  # fmt: skip
    assert inner["evaluation"]["shuffled"] == 19 and "prevalence" not in inner["evaluation"]
    assert inner["trust"]["planted"] == 0 and inner["scans"]["skull_stripped"] == "true"
    assert outer["evaluation"]["prevalence"] == 0.1, "the settings of the study are not changed"


def test_a_network_of_the_users_own_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = {"training": {"epochs": 3}, "model": {"architecture": "mine:make", "options": {"width": 4}}}
    (tmp_path / "mine.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    outer = load_study({key: value for key, value in CONFIG.items() if key != "training"} | training, SCHEMA)
    outer["training"] |= network_settings(outer)
    (tmp_path / "planting" / "truth").mkdir(parents=True)
    (tmp_path / "planting" / "truth" / "log_jacobian.nii.gz").touch()
    inner = load_study(planted_study(outer, 1, "planting", n_pairs=24), SCHEMA)
    assert inner["model"] == outer["model"] and "network" not in inner["training"]


def test_the_schema_names_the_regions_of_the_embedded_cohort():
    schema = yaml.safe_load(SCHEMA.read_text())["properties"]["trust"]["properties"]["planted_loss"]
    assert list(schema["properties"]) == list(REGIONS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scans": {"modality": "gm"}, "registration": {"resolution_mm": 3, "transform": "none"}}, "modality: gm"),
        ({"splits": [{"kind": "kfold", "heatmaps": False}]}, "no split with heatmaps"),
        ({"trust": {"planted": 1, "planted_loss": {"ventricles": 0.2}}}, "no region loses volume"),
    ],
)
def test_what_cannot_be_planted_is_refused_before_anything_runs(changes, words):
    with pytest.raises(ConfigError, match=words):
        load_study(CONFIG | changes, SCHEMA)


def regions(**achieved):
    rows = [(f"{name}_{side}", 1000.0, value, value, "s") for name, value in achieved.items()
            for side in ("left", "right")]  # fmt: skip
    return pd.DataFrame(rows, columns=list(TRUTH_REGIONS.columns))


@pytest.mark.parametrize(
    ("achieved", "words"),
    [
        ({"hippocampus": -0.25}, "a loss of 25 % in the hippocampus"),
        (
            {"precuneus": -0.1, "hippocampus": -0.25},
            "a loss of 25 % in the hippocampus and of 10 % in 1 further region",
        ),
        (
            {"ventricles": 0.5, "temporal_horn": 0.2, "middle_temporal": -0.3, "amygdala": -0.2, "precentral": -0.05},
            "a loss of 30 % in the middle temporal and of 5 to 20 % in 2 further regions",
        ),
    ],
)
def test_the_loss_is_described_by_its_largest_part(achieved, words):
    assert describe_loss(regions(**achieved)) == words


def test_what_each_method_detects_is_kept_of_the_study(tmp_path):
    evaluation, planting = tmp_path / "splits" / "few" / "evaluation", tmp_path / "planting"
    for folder in (evaluation, planting / "truth"):
        folder.mkdir(parents=True)
    numbers = {name: 1 for name, column in TRUTH.columns.items() if name not in ("method", "verdict")}
    truth = [numbers | {"method": name, "verdict": verdict, "region_auprc": auprc, "voxel_chance": 0.1}
             for name, verdict, auprc in (("occlusion", "detected", 0.6), ("grad_cam", "not detected", 0.2),
                                          ("baseline_weights", "detected", 0.9))]  # fmt: skip
    write_table(pd.DataFrame(truth)[list(TRUTH.columns)], evaluation / "truth.tsv", TRUTH)
    auc = {"level": "subject", "fold": "all", "metric": "auc", "low": 0.6, "high": 0.9, "p": 0.01, "n_scans": 8,
           "n_subjects": 8}  # fmt: skip
    metrics = [auc | {"model": "cnn", "value": 0.8}, auc | {"model": "baseline", "value": 0.7}]
    write_table(pd.DataFrame(metrics)[list(METRICS.columns)], evaluation / "metrics.tsv", METRICS)
    scans = [{"scan_id": f"s{n}", "subject_id": f"p{n}", "pair": n // 2, "role": ("planted", "sham")[n % 2], "age": 70,
              "sex": "F", "space": "native", "rms_mm": 0.5, "largest_change": 0.2} for n in range(8)]  # fmt: skip
    write_table(pd.DataFrame(scans), planting / "planted.tsv", PLANTED_SCANS)
    write_table(regions(hippocampus=-0.25), planting / "truth" / "regions.tsv", TRUTH_REGIONS)
    found = gather_assignment(tmp_path, planting, "few", assignment=3)
    write_table(found, tmp_path / "planted.tsv", PLANTED_CONTROLS)
    assert found["method"].tolist() == ["occlusion", "grad_cam"] and set(found["assignment"]) == {3}
    assert (found["auc"] == 0.8).all() and (found["n_pairs"] == 4).all()
    assert (found["loss"] == "a loss of 25 % in the hippocampus").all()
    one = summarise_planted(found).set_index("of")
    assert one.loc["network", ["value", "low", "high"]].tolist() == [0.8, 0.6, 0.9]
    assert one.loc["occlusion", "detected"] == 1 and one.loc["grad_cam", "detected"] == 0
    again = found.assign(assignment=4, region_auprc=[0.4, 0.3], verdict="not detected")
    several = summarise_planted(pd.concat([found, again])).set_index("of")
    occlusion = several.loc["occlusion"]
    assert (occlusion["value"], occlusion["detected"], occlusion["assignments"]) == (pytest.approx(0.5), 1, 2)
    # Student's interval of 0.6 and 0.4: 0.5 ± 12.706 * 0.1.
    assert occlusion["high"] - occlusion["value"] == pytest.approx(1.2706, abs=1e-3) and np.isnan(occlusion["p"])
