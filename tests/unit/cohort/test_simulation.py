"""The embedded cohort: flows, planted atrophy, the table of a download, and what must never depend on the diagnosis."""

from __future__ import annotations

import dataclasses
import hashlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats

from helpers.paths import SCHEMA
from helpers.simulation_settings import SETTINGS, settings
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.simulation import anatomy, atrophy, deform, plan, scans, variation
from voxelwhy.cohort.simulation import cohort as simulation
from voxelwhy.cohort.simulation.cohort import simulate_cohort, write_scans
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid, read_volume
from voxelwhy.io.simulation_tables import TRUTH_REGIONS
from voxelwhy.io.tables import read_table
from voxelwhy.splits.permute import first_ages


@pytest.fixture(scope="module")
def coarse():
    return scans.make_world(SETTINGS)


@pytest.fixture(scope="module")
def world():
    """The world at the resolution of the demo."""
    return scans.make_world(settings(working_mm=2, resolution_mm=2))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    _simulate(SETTINGS, folder)
    return folder


def _simulate(chosen, folder, workers=1):
    paths = [folder / name for name in ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    simulate_cohort(chosen, 7, *paths, workers=workers)


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_flow_of_a_linear_field_is_the_matrix_exponential():
    grid = Grid((21, 21, 21), np.diag([2.0, 2, 2, 1]) + np.array([[0, 0, 0, -20.0]] * 3 + [[0, 0, 0, 0]]))
    matrix = np.array([[0.10, 0.30, 0.0], [-0.30, 0.05, 0.1], [0.0, 0.2, -0.20]])
    velocity = (matrix @ deform.grid_points(grid)).reshape(3, *grid.shape).astype(np.float32)
    points = np.random.default_rng(0).uniform(-9, 9, size=(3, 200))
    for scale in (1.0, -1.0, 0.5):
        moved = deform.exponential_map(velocity, grid, points, scale=scale, steps=4)
        expected = linalg.expm(scale * matrix) @ points
        assert np.abs(expected - points).max() > 1
        np.testing.assert_allclose(moved, expected, atol=1e-3)
    jacobian = deform.flow_jacobian(
        velocity, grid, grid, np.linalg.norm(np.indices(grid.shape) - 10, axis=0) < 4, steps=4
    )
    assert jacobian[10, 10, 10] == pytest.approx(np.exp(np.trace(matrix)), abs=1e-4)
    assert jacobian[0, 0, 0] == 1


def test_velocity_solves_the_poisson_equation():
    voxel, sigma = 2.0, 8.0
    points = (np.indices((48, 40, 44)) - np.array([24, 20, 22])[:, None, None, None]) * voxel
    squared = (points**2).sum(axis=0)
    potential = np.exp(-squared / 2 / sigma**2)
    divergence = (squared / sigma**4 - 3 / sigma**2) * potential
    velocity = deform.velocity_of_divergence(divergence, voxel)
    expected = -points / sigma**2 * potential
    assert np.abs(expected).max() > 0.07
    np.testing.assert_allclose(velocity, expected, atol=0.002 * np.abs(expected).max())


def test_smooth_field_has_the_size_and_smoothness_asked_for():
    field = variation.smooth_field(np.random.default_rng(3), (60, 60, 60), 4.0, 8.0, 1.5)
    assert np.sqrt((field**2).sum(axis=0).mean()) == pytest.approx(1.5, rel=1e-4)
    # White noise after a Gaussian of sigma s correlates as exp(-h²/(4 s²)): at h = 8 mm exp(-1/4).
    lagged = np.corrcoef(field[0, :-2].ravel(), field[0, 2:].ravel())[0, 1]
    assert lagged == pytest.approx(np.exp(-0.25), abs=0.03)


def test_a_field_without_rotation_changes_volumes_more_at_the_same_size():
    field = variation.smooth_field(np.random.default_rng(3), (40, 44, 42), 4.0, 16.0, 2.0)
    kept = variation.without_rotation(field)
    slopes = {name: [np.gradient(part, 4.0) for part in one] for name, one in (("field", field), ("kept", kept))}
    inner = (slice(2, -2),) * 3  # differences at the edge are one-sided

    def curl(one):
        return np.stack([(one[i][j] - one[j][i])[inner] for i, j in ((0, 1), (1, 2), (2, 0))])

    def divergence(one):
        return sum(one[i][i] for i in range(3))[inner]

    assert (kept**2).mean() == pytest.approx((field**2).mean(), rel=1e-4)
    assert curl(slopes["kept"]).std() < 0.01 * curl(slopes["field"]).std()
    assert divergence(slopes["kept"]).std() / divergence(slopes["field"]).std() == pytest.approx(np.sqrt(3), rel=0.1)


def test_sharing_among_coarse_voxels_keeps_volumes_and_places():
    values = np.zeros(Grid.icbm(1).shape)
    values[60:71, 80:97, 50:58] = 0.5
    for working_mm in (2, 3, 4):
        grid = Grid.icbm(working_mm)
        coarse = anatomy.to_working(values, working_mm)
        assert coarse.sum(dtype=float) * grid.voxel_mm3 == pytest.approx(values.sum())
        centre = (coarse.reshape(-1) * deform.grid_points(grid)).sum(axis=1) / coarse.sum()
        np.testing.assert_allclose(centre, Grid.icbm(1).affine[:3, 3] + [65, 88, 53.5], atol=0.01)


def test_brain_is_the_template_with_sensible_tissues(world):
    brain = world.brain
    litres = {name: getattr(brain, name).sum() * 8e-6 for name in ("tissue", "fluid", "ventricles")}
    assert litres["tissue"] == pytest.approx(1.667, abs=0.005)
    assert litres["fluid"] == pytest.approx(0.220, abs=0.005)
    assert 0.015 < litres["ventricles"] < 0.025
    places = deform.grid_points(brain.grid, brain.ventricles > 0.5)
    assert np.abs(places[0]).max() < 40 and abs(places[0].mean()) < 1
    assert np.median(brain.template[brain.template > 0.9]) == pytest.approx(1, abs=0.1)
    label = anatomy.region_maps(brain, {"one": ["Hippocampus"]})
    closed = [label[f"one_{side}"].sum() * 8 for side in ("left", "right")]
    # HCPEx's own 4278 and 3626 mm3, and the grey matter above them that has no label.
    assert 4278 * 1.2 < closed[0] < 4278 * 1.6 and 3626 * 1.2 < closed[1] < 3626 * 1.7
    assert (deform.grid_points(brain.grid, label["one_left"] > 0.5)[0] < 0).all()


def test_region_names_are_checked(coarse):
    with pytest.raises(ConfigError, match=r"did you mean Hippocampus\?"):
        anatomy.region_maps(coarse.brain, {"hippocampus": ["Hipocampus"]})
    with pytest.raises(ConfigError, match="used by two regions"):
        anatomy.region_maps(coarse.brain, {"one": ["Hippocampus"], "two": ["Hippocampus"]})
    with pytest.raises(ConfigError, match=r"used by two regions(.*\n)+.*one and two"):
        anatomy.region_maps(coarse.brain, {"one": ["Ventricles"], "two": ["Ventricles"]})
    with pytest.raises(ConfigError, match=r"did you mean Temporal_Horn\?"):
        anatomy.region_maps(coarse.brain, {"horn": ["Temporal_Horns"]})


def test_fluid_takes_up_what_is_lost(coarse):
    brain = coarse.brain
    region = anatomy.region_maps(brain, {"hippocampus": ["Hippocampus"]})["hippocampus_left"]
    gain = atrophy.take_up(-0.3 * region, brain.fluid, brain.tissue, 2.0)
    assert gain.sum(dtype=float) == pytest.approx(0.3 * region.sum(dtype=float), rel=1e-4)
    assert (gain[brain.fluid == 0] == 0).all() and gain.min() >= 0
    near = (gain * (deform.grid_points(brain.grid)[0] < 0).reshape(gain.shape)).sum() / gain.sum()
    assert near > 0.95


def test_disease_reaches_the_wanted_volumes(world):
    disease, brain = world.disease, world.brain
    for region, wanted in disease.wanted.items():
        assert disease.achieved[region] == pytest.approx(wanted, abs=0.002)
    assert disease.jacobian.min() > 0.2
    # The whole brain with its fluid keeps its volume.
    assert abs(atrophy.log_volume(disease.jacobian, brain.inside.astype(float))) < 0.003
    # Counted another way: the volume of each region's image under the deformation, on a lattice of 1 mm.
    maps = anatomy.region_maps(brain, {name: region["labels"] for name, region in SETTINGS["regions"].items()})
    for name, region in maps.items():
        places = deform.grid_points(brain.grid, region > 0)
        low, high = np.floor(places.min(axis=1)) - 6, np.ceil(places.max(axis=1)) + 6
        lattice = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"))
        back = deform.exponential_map(disease.velocity, brain.grid, lattice.reshape(3, -1), scale=-1.0)
        counted = deform.sample(region, brain.grid, back).sum(dtype=float) / (region.sum(dtype=float) * 8) - 1
        assert counted == pytest.approx(disease.wanted[name], abs=0.02)


def test_deformations_are_invertible(world):
    brain, chosen = world.brain, world.settings
    points = deform.grid_points(brain.grid, brain.inside)[:, ::7]
    rows = plan.plan_cohort(settings(missing_files=[], truncated_files=[]), 7).to_dict("records")
    oldest = max(rows, key=lambda row: row["age"])
    person = variation.anatomy_velocity(variation.random_generator(7, "anatomy", oldest["RID"]), chosen["anatomy"])
    growth = variation.growth_velocity(brain, world.growth, person, *scans.wanted_volumes(chosen, 7, oldest))
    flows = [
        (person, variation.ANATOMY_GRID, 1.0),
        (growth, brain.grid, 1.0),
        (world.disease.velocity, brain.grid, chosen["severity"]["highest"]),
    ]
    for velocity, grid, scale in flows:
        # One step, as the scans are made.
        there = deform.exponential_map(velocity, grid, points, scale=scale, steps=1)
        back = deform.exponential_map(velocity, grid, there, scale=-scale, steps=1)
        assert np.abs(there - points).max() > 1
        assert np.abs(back - points).max() < 0.3 and np.sqrt(((back - points) ** 2).mean()) < 0.02
        assert deform.flow_jacobian(velocity, grid, brain.grid, brain.inside, scale=scale).min() > 0.1


def test_volumes_follow_the_plan_and_the_years(world):
    """Hippocampus and ventricles of whole composed deformations, measured from the outside."""
    rows = plan.plan_cohort(settings(missing_files=[], truncated_files=[]), 7).to_dict("records")
    targets = world.growth.targets
    for row in [row for row in rows if row["RID"] in (1, 5)][::2]:  # controls
        _, wanted = scans.wanted_volumes(world.settings, 7, row)
        measured = _log_volumes(world, row, targets)
        assert measured["hippocampus"] == pytest.approx(wanted["hippocampus"], abs=0.05)
        # Ventricles three times as large fall short by a sixth: the flows are planned for half as much again.
        assert measured["ventricles"] == pytest.approx(wanted["ventricles"], abs=0.2)
    ill = np.log1p(-0.0141) + SETTINGS["severity"]["per_year"] * np.log1p(-0.25)
    for diagnosis, rate in (("CN", -0.0141), ("Dementia", np.expm1(ill))):
        row = next(row for row in rows if row["DX"] == diagnosis)
        later = row | {"years": row["years"] + 2, "age": row["age"] + 2}
        change = _log_volumes(world, later, targets)["hippocampus"] - _log_volumes(world, row, targets)["hippocampus"]
        assert np.expm1(change / 2) == pytest.approx(rate, abs=0.004)


def _log_volumes(world, row, targets):
    brain, chosen = world.brain, world.settings
    person = variation.anatomy_velocity(variation.random_generator(7, "anatomy", row["RID"]), chosen["anatomy"])
    growth = variation.growth_velocity(brain, world.growth, person, *scans.wanted_volumes(chosen, 7, row))
    wide = brain.outside_mm < 6
    start = deform.grid_points(brain.grid, wide)
    flow = world.flows["typical"]
    points = deform.exponential_map(flow, brain.grid, start, scale=plan.severity_of(chosen, row))
    points = deform.exponential_map(growth, brain.grid, points)
    points = deform.exponential_map(person, variation.ANATOMY_GRID, points)
    displacement = np.zeros((3, *brain.grid.shape), dtype=np.float32)
    displacement[:, wide] = points - start
    jacobian = deform.jacobian_determinant(displacement, brain.grid)
    return {name: atrophy.log_volume(jacobian, region) for name, region in targets.items()}


def test_normal_spread_is_that_of_the_literature():
    logs = []
    for rid in range(400):
        row = {"RID": rid, "age": 70.0, "years": 0.0}
        logs.append([scans.wanted_volumes(SETTINGS, 7, row)[1][name] for name in ("hippocampus", "ventricles")])
    hippocampus, ventricles = np.exp(logs).T
    assert hippocampus.std() / hippocampus.mean() == pytest.approx(0.10, abs=0.015)
    assert ventricles.std() / ventricles.mean() == pytest.approx(0.49, abs=0.08)
    assert stats.skew(ventricles) > 0.5
    older = scans.wanted_volumes(SETTINGS, 7, {"RID": 1, "age": 80.0, "years": 0.0})
    younger = scans.wanted_volumes(SETTINGS, 7, {"RID": 1, "age": 60.0, "years": 0.0})
    assert older[0] - younger[0] == pytest.approx(20 * np.log(1 - 0.0045))
    assert np.exp(older[1]["ventricles"] - younger[1]["ventricles"]) == pytest.approx(1.0324**20)


def test_atrophy_darkens_by_moving_fluid_not_by_dimming(coarse):
    chosen = settings(intensity={"white_matter": 1000, "gain_spread": 0.0, "bias_rms": 0.0, "noise": 0.0})
    clean = dataclasses.replace(coarse, settings=chosen)
    row = next(row for row in plan.plan_cohort(SETTINGS, 7).to_dict("records") if row["DX"] == "Dementia")
    healthy = scans.render_scan(clean, 7, row | {"stage": 0.0})
    severe = scans.render_scan(clean, 7, row | {"draw": 2.0})
    assert (healthy != severe).sum() > 1000
    # No new intensities: the brightest and the darkest stay, white matter far from the disease to the last bit.
    assert severe.max() == pytest.approx(healthy.max(), abs=15)
    assert np.median(severe[severe > 850]) == pytest.approx(np.median(healthy[healthy > 850]), abs=2)
    dark = [((image > 0) & (image < 600)).sum() for image in (healthy, severe)]
    assert dark[1] > dark[0] * 1.01


def test_one_more_subject_changes_nobody_else(coarse):
    before = plan.plan_cohort(SETTINGS, 7)
    for group in ("CN", "MCI"):
        more = settings(subjects=SETTINGS["subjects"] | {group: SETTINGS["subjects"][group] + 1})
        after = plan.plan_cohort(more, 7)
        assert after["RID"].nunique() == before["RID"].nunique() + 1
        pd.testing.assert_frame_equal(after[after["RID"].isin(before["RID"])].reset_index(drop=True), before)


def test_same_seed_same_bytes_whatever_the_workers(cohort, tmp_path):
    _simulate(SETTINGS, tmp_path, workers=2)
    assert _files(tmp_path) == _files(cohort)


def test_another_seed_gives_other_scans(coarse, cohort, tmp_path):
    one = plan.plan_cohort(settings(subjects={"CN": 1}, missing_files=[], truncated_files=[]), 8)
    hashes = {known["sha256"] for known in write_scans(coarse, 8, one, tmp_path)}
    assert not hashes & set(pd.read_csv(cohort / "manifest.tsv", sep="\t")["sha256"])


def test_table_looks_like_a_download(cohort):
    table = pd.read_csv(cohort / "table.csv", dtype=str)
    assert ",".join(table.columns) == (
        "RID,PTID,VISCODE,DX,AGE,PTGENDER,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis,"
        "Study.ID,Series.ID"
    )
    patterns = {
        "PTID": r"999_S_\d{4}",
        "VISCODE": "bl|m12|m24",
        "DX": "CN|MCI|Dementia",
        "AGE": r"\d\d\.\d",
        "PTGENDER": "Female|Male",
        "EXAMDATE": r"200\d-\d\d-\d\d",
        "Image.ID": r"\d+",
        "Scan.Date": r"[1-9]\d?/[1-9]\d?/\d\d",
        "Sequence": r"MPR; GradWarp; B1 Correction; N3; Scaled(_2)?",
        "Visit": "Screening|Month 12|Month 24",
        "Screen.Diagnosis": "NL|MCI|AD",
    }
    for column, pattern in patterns.items():
        assert table[column].str.fullmatch(pattern).all(), column
    assert table["Image.ID"].is_unique and len(table) == 12
    assert (pd.to_datetime(table["Scan.Date"], format="%m/%d/%y") >= pd.to_datetime(table["EXAMDATE"])).all()
    converter = table[table["PTID"] == "999_S_0004"]
    assert list(converter["DX"]) == ["CN", "Dementia"] and set(converter["Screen.Diagnosis"]) == {"NL"}
    twice = table[table["PTID"] == "999_S_0001"]
    assert twice["Scan.Date"].nunique() == 1 and twice["Sequence"].nunique() == 2


def test_age_and_sex_of_the_table_are_those_of_the_simulation(cohort):
    """As in ADNIMERGE, AGE is that at the first visit, in every row; the reader adds the time since then."""
    table, manifest = pd.read_csv(cohort / "table.csv"), pd.read_csv(cohort / "manifest.tsv", sep="\t")
    assert (table.groupby("PTID")[["AGE", "PTGENDER"]].nunique() == 1).all(axis=None)
    assert manifest["sex"].map({"F": "Female", "M": "Male"}).tolist() == table["PTGENDER"].tolist()
    # AGE has one decimal, and the age of the manifest two.
    assert np.abs(table["AGE"] + table["Month_bl"] / 12 - manifest["age"]).max() < 0.06
    config = {"study": "x", "cohort": {"table": str(cohort / "table.csv"), "data_dir": str(cohort / "scans")}}
    read = parse_tables(load_settings(config, SCHEMA)["cohort"])[0].set_index("image_id")
    known = manifest.assign(image_id=manifest["Image.ID"].astype(str)).set_index("image_id").loc[read.index]
    assert np.abs(read["age"] - known["age"]).max() < 0.06 and len(read) > 5
    assert read["sex"].tolist() == known["sex"].tolist()
    # Strata of shuffled diagnoses rest on both.
    first = first_ages(read.reset_index())
    assert first["age"].to_dict() == read.groupby("subject_id")["age"].min().to_dict()
    assert first["sex"].to_dict() == known.groupby("PTID")["sex"].first().to_dict()


def test_files_of_the_download(cohort):
    manifest = pd.read_csv(cohort / "manifest.tsv", sep="\t", keep_default_na=False)
    table = pd.read_csv(cohort / "table.csv", dtype=str)
    assert manifest["age"].between(55, 90).all() and set(manifest["sex"]) <= {"F", "M"}
    for row, known in zip(table.to_dict("records"), manifest.to_dict("records"), strict=True):
        visit = row["Visit"].replace(" ", "")
        name = f"{row['PTID']}_{row['Scan.Date'].replace('/', '-')}_{visit}_{row['Image.ID']}_{row['DX']}.nii.gz"
        path = cohort / "scans" / row["PTID"] / visit / name
        assert path.exists() == (known["state"] != "missing")
        if known["state"] == "truncated":
            with pytest.raises(InputError, match="cannot be read"):
                read_volume(path)
        elif known["state"] == "complete":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == known["sha256"]
            image = nib.load(path)
            data = np.asarray(image.dataobj)
            assert image.get_data_dtype() == np.int16 and image.shape == (50, 58, 50)
            brain_litres = (data > 0).sum() * 64e-6
            assert 1.3 < brain_litres < 2.5
            rim = [data[[0, -1]], data[:, [0, -1]], data[:, :, [0, -1]]]
            assert not any(face.any() for face in rim), "a brain is cut by the field of view"
    assert list(manifest["state"]).count("missing") == 1 and list(manifest["state"]).count("truncated") == 1


def test_same_acquisition_processed_twice(coarse):
    rows = [row for row in plan.plan_cohort(SETTINGS, 7).to_dict("records") if row["RID"] == 1]
    first, second = (scans.render_scan(coarse, 7, row).astype(float) for row in rows)
    assert (first != second).mean() > 0.1
    assert ((first > 0) == (second > 0)).all()
    assert np.corrcoef(first[first > 0], second[first > 0])[0, 1] > 0.97


def test_truth(cohort):
    regions = read_table(cohort / "truth" / "regions.tsv", TRUTH_REGIONS)
    assert list(regions["region"][:2]) == ["hippocampus_left", "hippocampus_right"]
    np.testing.assert_allclose(regions["achieved"], regions["wanted"], atol=0.02)
    image = nib.load(cohort / "truth" / "log_jacobian.nii.gz")
    Grid.icbm(4).require(Grid.of(image), "truth")
    values = image.get_fdata()
    assert np.isfinite(values).all() and values.min() < -0.3 and values.max() > 0.02


def test_unchanged_scans_keep_their_time_and_old_ones_go(tmp_path, coarse, monkeypatch):
    monkeypatch.setattr(simulation, "make_world", lambda chosen: coarse)
    few = settings(subjects={"CN": 1}, missing_files=[], truncated_files=[])
    _simulate(few, tmp_path)
    files = sorted((tmp_path / "scans").rglob("*.nii.gz"))
    times = [path.stat().st_mtime_ns for path in files]
    stale = tmp_path / "scans" / "999_S_0099" / "Screening" / "999_S_0099_1-1-06_Screening_1_CN.nii.gz"
    mine = tmp_path / "scans" / "notes.txt"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    mine.write_text("keep")
    content = files[0].read_bytes()
    files[0].write_bytes(b"broken")
    _simulate(few, tmp_path)
    assert files[0].read_bytes() == content
    assert [path.stat().st_mtime_ns for path in files[1:]] == times[1:]
    assert not stale.parent.parent.exists() and mine.exists()


def test_defects_must_name_scans_of_the_cohort():
    with pytest.raises(ConfigError, match="missing_files names a scan"):
        plan.plan_cohort(settings(missing_files=["999_S_0999/Screening"]), 7)
