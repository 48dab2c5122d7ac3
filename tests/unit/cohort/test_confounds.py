"""Confounds of the embedded cohort: as strong as stated, in patients' scans alone, and nothing where there is none."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import html

import matplotlib.image
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.paths import ROOT, SCHEMA
from helpers.simulation_settings import SETTINGS, settings
from voxelwhy.cohort.simulation import confounds, plan, scans, variation
from voxelwhy.cohort.simulation.cohort import simulate_cohort
from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.cohort.simulation.deform import sample
from voxelwhy.config import simulation_checks
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError
from voxelwhy.evaluation.external.cohort import planted_in_cohort
from voxelwhy.io.simulation_tables import CONFOUNDS
from voxelwhy.io.tables import read_table
from voxelwhy.report.figures.style import new_figure, save_figure
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.page import write_report

DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
WHOLE = {"missing_files": [], "truncated_files": []}
STRENGTHS = {"head_position": {"pitch_deg": 5, "shift_mm": -2}, "bias_field": 0.1, "age": 6, "noise": 0.5}
FLAT = {"head_position.pitch_deg": 5, "head_position.shift_mm": -2, "bias_field": 0.1, "age": 6, "noise": 0.5}


def planted(**strengths):
    return copy.deepcopy(SETTINGS["confounds"]) | strengths


@pytest.fixture(scope="module")
def coarse():
    return scans.make_world(SETTINGS)


def world_with(coarse, **strengths):
    return dataclasses.replace(coarse, settings=settings(confounds=planted(**strengths)))


def rows_of(chosen, dx=None):
    rows = plan.plan_cohort(chosen | WHOLE, 7).to_dict("records")
    return [row for row in rows if dx in (None, row["DX"])]


def test_without_a_confound_the_bytes_are_those_of_a_simulation_that_knows_none(coarse):
    """The scan made as it was before there were confounds, draw by draw."""
    row = rows_of(SETTINGS, "Dementia")[0]
    near, points = scans.template_points(coarse, 7, row)
    before = variation.head_affine(
        variation.random_generator(7, "size", row["RID"]),
        variation.random_generator(7, "position", row["RID"], row["number"]),
        SETTINGS["head"],
        row["sex"],
        scans.BRAIN_CENTRE_MM,
    )
    assert np.array_equal(before, scans.head_position(SETTINGS, 7, row))
    signal, mask = np.zeros(near.shape, dtype=np.float32), np.zeros(near.shape, dtype=bool)
    signal[near] = sample(coarse.brain.template, coarse.brain.fine, points, mode="constant")
    mask[near] = sample(coarse.brain.template_mask, coarse.brain.fine, points, mode="constant") > 0.5
    rng = variation.random_generator(7, "noise", row["RID"], row["number"])
    real, imaginary = SETTINGS["intensity"]["noise"] * rng.standard_normal((2, *near.shape), dtype=np.float32)
    rng = variation.random_generator(7, "gain", row["RID"], row["number"], row["processed"])
    image = 600 * np.exp(0.15 * np.clip(rng.normal(), -2.5, 2.5)) * np.sqrt((signal + real) ** 2 + imaginary**2)
    image = image * variation.bias_field(rng, near.shape, 0.02)
    voxels = np.where(mask, np.clip(np.rint(image), 1, 32767), 0).astype(np.int16)
    content = gzip.decompress(scans.scan_bytes(coarse, 7, row))
    assert content.endswith(voxels.tobytes(order="F"))


def test_only_scans_of_dementia_have_it_and_a_converter_from_that_visit_on(coarse):
    """Nobody else's scan changes by a byte; a confound of age makes controls younger, to leave patients room."""
    confounded = world_with(coarse, **(STRENGTHS | {"age": 0}))
    for row in rows_of(SETTINGS):
        if row["number"] and row["PTID"] != "999_S_0004":
            continue
        same = scans.scan_bytes(confounded, 7, row) == scans.scan_bytes(coarse, 7, row)
        assert same == (row["DX"] != "Dementia"), row["path"]
    assert {row["DX"] for row in rows_of(SETTINGS) if row["PTID"] == "999_S_0004"} == {"CN", "Dementia"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Sixteen pairs with all five confounds, so small that nothing of them can be seen."""
    folder = tmp_path_factory.mktemp("confounded")
    chosen = settings(
        resolution_mm=6,
        subjects={"CN": 16, "Dementia": 16, "MCI": 1, "converter": 1},
        visits=[["Screening"]],
        missing_files=["999_S_0005/Screening"],
        truncated_files=["999_S_0006/Screening"],
        confounds=STRENGTHS,
    )
    paths = [folder / name for name in ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    simulate_cohort(chosen, 7, *paths)
    return folder


@pytest.mark.slow
def test_what_is_stated_is_what_was_measured(cohort):
    table = read_table(cohort / "confounds.tsv", CONFOUNDS).set_index("confound")
    manifest = pd.read_csv(cohort / "manifest.tsv", sep="\t", keep_default_na=False, na_values=[""])
    assert table["strength"].to_dict() == FLAT
    # Of sixteen one is missing or truncated; the converter is a control first and a patient then.
    assert (table["patients_scans"] == 16).all() and (table["controls_scans"] == 16).all()
    whole = manifest[manifest["state"] == "complete"]
    for name, row in table.iterrows():
        sides = [whole.loc[whole["DX"] == dx, row["measured"]] for dx in ("Dementia", "CN")]
        assert row["patients_mean"] == pytest.approx(sides[0].mean()), name
        assert row["controls_sd"] == pytest.approx(sides[1].std()), name
        assert row["difference"] == pytest.approx(sides[0].mean() - sides[1].mean()), name
        pooled = np.sqrt((sides[0].var() + sides[1].var()) / 2)
        assert row["cohens_d"] == pytest.approx(row["difference"] / pooled), name
    # Three standard errors: positions, and what is left of the bias field, are drawn for each scan.
    error = np.sqrt(2 / 15) * 3
    assert table.loc["head_position.pitch_deg", "difference"] == pytest.approx(5, abs=4 * error)
    assert table.loc["head_position.shift_mm", "difference"] == pytest.approx(-2, abs=4 * error)
    assert table.loc["bias_field", "difference"] == pytest.approx(0.1, abs=0.02 * error)
    assert table.loc["noise", "patients_mean"] == pytest.approx(0.03 * 1.5, rel=0.01)
    assert table.loc["noise", "controls_mean"] == pytest.approx(0.03, rel=0.01)
    assert table.loc["bias_field", "cohens_d"] > 4 > table.loc["age", "cohens_d"] > 0.3
    missing = manifest[manifest["state"] == "missing"]
    assert missing[list(confounds.MEASURED)].isna().all(axis=None) and missing["age"].notna().all()


def test_patients_are_older_than_their_matches_by_exactly_that_and_nobody_is_out_of_range():
    chosen = settings(subjects={"CN": 300, "Dementia": 300, "converter": 5}, visits=[["Screening", "Month 24"]]) | WHOLE
    for years in (6, -6, 16):
        rows = plan.plan_cohort(chosen | {"confounds": planted(age=years)}, 7)
        assert rows["age"].between(55, 90).all()
        ages = rows[rows["number"] == 0].set_index("RID")["age"]
        of_match = [(ages[4 * k + 2] - ages[4 * k + 1], ages[4 * k + 4] - ages[4 * k + 1]) for k in range(5)]
        assert np.allclose(of_match, [(years, 0)] * 5, atol=0.011), "patients, and converters"
        assert ages[ages.index % 4 == 2].mean() - ages[ages.index % 4 == 1].mean() == pytest.approx(years, abs=0.01)
    older = rows[rows["RID"] == 2].iloc[0].to_dict()
    tissue, wanted = scans.wanted_volumes(chosen, 7, older)
    younger_tissue, younger = scans.wanted_volumes(chosen, 7, older | {"age": older["age"] - 16})
    assert tissue - younger_tissue == pytest.approx(16 * np.log1p(-0.0045))
    assert wanted["ventricles"] - younger["ventricles"] == pytest.approx(16 * np.log1p(0.0324))


def test_position_is_measured_as_it_was_planted():
    rng = [variation.random_generator(1, "a", 1), variation.random_generator(1, "b", 1)]
    drawn = confounds.measure_position(
        variation.head_affine(*rng, SETTINGS["head"], "F", (0, -17, 5)), centre_mm=(0, -17, 5)
    )
    rng = [variation.random_generator(1, "a", 1), variation.random_generator(1, "b", 1)]
    moved = variation.head_affine(*rng, SETTINGS["head"], "F", (0, -17, 5), pitch_deg=7, shift_mm=-3)
    found = confounds.measure_position(moved, centre_mm=(0, -17, 5))
    assert np.subtract(found, drawn) == pytest.approx([7, -3])
    still = SETTINGS["head"] | {"size_spread": 0, "sex_difference": 0, "rotation_deg": 0, "shift_mm": 0}
    up = variation.head_affine(*rng, still, "F", (0, -17, 5), pitch_deg=90)
    nose, crown = ((up[:3, :3] @ axis).round(6).tolist() for axis in ((0, 1, 0), (0, 0, 1)))
    assert nose == [0, 0, 1] and crown == [0, -1, 0], "chin up: the nose towards the crown's end"


def test_bias_and_noise_can_be_seen_in_the_image(coarse):
    row = rows_of(SETTINGS, "Dementia")[0]
    clean = {"white_matter": 10000, "gain_spread": 0.0, "bias_rms": 0.0, "noise": 0.001}
    plain = dataclasses.replace(coarse, settings=settings(intensity=clean))
    before = scans.render_scan(plain, 7, row).astype(float)
    inside = before > 5000
    field = dataclasses.replace(coarse, settings=settings(intensity=clean, confounds=planted(bias_field=0.2)))
    after = scans.render_scan(field, 7, row).astype(float)
    wanted = np.broadcast_to(0.2 * confounds.gradient(before.shape), before.shape)
    # Both images are rounded to whole numbers.
    rounding = 0.5 / before[inside] + 0.5 / after[inside]
    assert (np.abs(np.log(after[inside] / before[inside]) - wanted[inside]) < 1.05 * rounding).all()
    assert (confounds.gradient(before.shape) ** 2).mean() == pytest.approx(1) and wanted[0, 0, 0] > 0 > wanted[0, 0, -1]
    noisy = clean | {"noise": 0.02}
    spread = []
    for more in (0, 1):
        chosen = settings(intensity=noisy, confounds=planted(noise=more))
        image = scans.render_scan(dataclasses.replace(coarse, settings=chosen), 7, row)
        spread.append((image[inside] - before[inside]).std())
    assert spread[1] / spread[0] == pytest.approx(2, abs=0.1)


@pytest.mark.slow
def test_a_head_out_of_the_field_of_view_is_refused_and_what_is_accepted_is_whole(coarse, tmp_path):
    chosen = settings(confounds=planted(head_position={"pitch_deg": 0, "shift_mm": 30})) | WHOLE
    paths = [tmp_path / name for name in ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    with pytest.raises(ConfigError, match=r"head_position moves a brain out(.*\n)+.*shift 30 mm: 999_S_000[246]/"):
        simulate_cohort(chosen, 7, *paths)
    assert not (tmp_path / "scans").exists()

    def accepted(shift):
        made = settings(confounds=planted(head_position={"pitch_deg": 8, "shift_mm": shift})) | WHOLE
        table = plan.plan_cohort(made, 7)
        table = table[table["DX"] == "Dementia"]
        shifted = dataclasses.replace(coarse, settings=made)
        reaches = [scans.head_reach(shifted, 7, row) for row in table.to_dict("records")]
        try:
            confounds.require_in_view(table, reaches, scans.SCANNER_MM, made, clearance_mm=5.5)
        except ConfigError:
            return False
        return True

    for sign in (1, -1):
        most = max(shift for shift in range(0, 31) if accepted(sign * shift))
        assert 3 <= most < 30
        world = world_with(coarse, head_position={"pitch_deg": 8, "shift_mm": sign * most})
        for row in rows_of(SETTINGS, "Dementia"):
            voxels = scans.render_scan(world, 7, row)
            assert not any(np.take(voxels, [0, -1], axis=axis).any() for axis in range(3))


def load(**simulation):
    config = copy.deepcopy(DEMO)
    config["simulation"] |= simulation
    return load_study(config, SCHEMA)


def test_limits_that_stand_in_two_places_agree():
    intensity = yaml.safe_load(SCHEMA.read_text())["properties"]["simulation"]["properties"]["intensity"]
    assert intensity["properties"]["noise"]["maximum"] == simulation_checks.MOST_NOISE
    assert simulation_checks.LAST_VISIT_YEARS == plan.VISITS_TAKE


def test_settings_have_none_by_default_and_strengths_that_cannot_be_had_are_refused():
    assert load()["simulation"]["confounds"] == SETTINGS["confounds"]
    assert load(confounds={"age": 16.4})["simulation"]["confounds"]["age"] == 16.4
    for confound, words in (
        ({"age": 17}, r"confounds.age is more than half(.*\n)+.*-16.45 to 16.45 years"),
        ({"age": 60}, r"confounds.age cannot be used(.*\n)+.*at most 20"),
        ({"noise": -1}, r"confounds.noise cannot be used(.*\n)+.*at least -0.9"),
        (
            {"head_position": {"pich_deg": 3}},
            r"no setting simulation.confounds.head_position.pich_deg(.*\n)+.*pitch_deg",
        ),
        ({"head_position": 5}, r"confounds.head_position cannot be used"),
        ({"bias_feild": 0.1}, r"no setting simulation.confounds.bias_feild(.*\n)+.*confounds.bias_field"),
    ):
        with pytest.raises(ConfigError, match=words):
            load(confounds=confound)
    with pytest.raises(ConfigError, match=r"scans is out of range(.*\n)+.*4 times simulation.intensity.noise 0.1"):
        load(confounds={"noise": 3}, intensity={"noise": 0.1})
    with pytest.raises(ConfigError, match=r"scans is out of range(.*\n)+.*it multiplies"):
        load(confounds={"noise": 3}, intensity={"noise": 0})


@pytest.mark.parametrize(("number", "cn", "dementia"), [(400, 200, 200), (401, 201, 200), (2, 1, 1), (40.0, 20, 20)])
def test_a_number_of_subjects_is_half_and_half(number, cn, dementia):
    wanted = {"CN": cn, "Dementia": dementia, "MCI": 0, "converter": 0}
    loaded = load(subjects=number, missing_files=[], truncated_files=[])
    assert loaded["simulation"]["subjects"] == wanted
    assert all(isinstance(n, int) for n in loaded["simulation"]["subjects"].values())
    assert load_settings(loaded, SCHEMA) == loaded
    if number < 100:
        table = plan.plan_cohort(loaded["simulation"], 0)
        assert table.groupby("DX")["RID"].nunique().to_dict() == {"CN": cn, "Dementia": dementia}


@pytest.mark.parametrize("number", [1, 4001, 2.5, True, "many", [4]])
def test_another_number_of_subjects_is_refused_in_words(number):
    with pytest.raises(ConfigError, match=r"simulation.subjects cannot be used(.*\n)+.*a whole number or settings"):
        load(subjects=number)


def test_groups_may_still_be_named_one_by_one():
    assert load(subjects=None)["simulation"]["subjects"]["Dementia"] == 18
    assert load(subjects={"CN": 3})["simulation"]["subjects"] == {"CN": 3, "Dementia": 18, "MCI": 3, "converter": 1}
    with pytest.raises(ConfigError, match=r"no setting simulation.subjects.AD"):
        load(subjects={"AD": 3})


def test_words_say_which_and_how_strong():
    assert describe_confounds(SETTINGS["confounds"]) == "" == describe_confounds({})
    words = describe_confounds(STRENGTHS)
    assert words.startswith("5 confounds were planted: patients have heads pitched by 5° (chin up), heads 2 mm nearer")
    assert "brighter towards the feet (bias field 0.1), 6 years more of age and 50 % more noise" in words
    assert describe_confounds({name: str(value) for name, value in FLAT.items()}) == words
    assert describe_confounds(planted(age=-3)) == "a confound was planted: patients have 3 years less of age"
    assert set(FLAT) == set(confounds.CONFOUNDS)


@pytest.mark.parametrize("width", [3, 9])
def test_a_figure_says_so_on_its_face(tmp_path, width):
    words = describe_confounds(STRENGTHS)
    for name, simulated in (("plain", True), ("planted", words)):
        fig, axes = new_figure(figsize=(width, 2))
        axes.plot([0, 1])
        save_figure(fig, tmp_path / name, simulated=simulated, title="t", caption="c", category="cohort")
    plain, confounded = ((tmp_path / f"{name}.svg").read_text() for name in ("plain", "planted"))
    assert "simulated data" in plain and "confound" not in plain
    shown = " ".join(part for part in words.split() if part in confounded)
    assert shown == words and "simulated data;" in confounded
    widths = [matplotlib.image.imread(tmp_path / f"{name}.png").shape[1] for name in ("plain", "planted")]
    assert widths[1] <= 1.1 * widths[0], "lines are broken where the figure ends"


def test_the_report_says_so_on_its_face_and_in_its_methods(tmp_path):
    words = describe_confounds(STRENGTHS)
    common = {"title": "s", "sentences": ["x"], "versions": {}, "citations": []}
    write_report([], tmp_path / "planted.html", simulated=words, **common)
    write_report([], tmp_path / "plain.html", simulated=True, **common)
    assert f"In addition, {words}." in html.unescape((tmp_path / "planted.html").read_text())
    assert "In addition" not in (tmp_path / "plain.html").read_text()
    counts = {"simulated": True, "n_subjects": 4, "n_scans": 4}
    assert words in methods_text({"simulation": {"confounds": STRENGTHS}}, **counts)[0]
    assert "confound" not in methods_text({"simulation": {"confounds": SETTINGS["confounds"]}}, **counts)[0]


def test_what_was_planted_in_another_study_is_read_from_its_table(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert planted_in_cohort("there") == ""
    folder = tmp_path / "results/there/simulation"
    folder.mkdir(parents=True)
    (folder / "confounds.tsv").write_bytes((cohort / "confounds.tsv").read_bytes())
    assert planted_in_cohort("there") == f"in there {describe_confounds(STRENGTHS)}"


def test_scans_of_the_confounded_cohort_are_images_like_any_other(cohort):
    paths = sorted((cohort / "scans").rglob("*Dementia.nii.gz"))
    image = nib.load(paths[1])
    assert image.shape == (34, 39, 34) and np.asarray(image.dataobj).max() > 300
