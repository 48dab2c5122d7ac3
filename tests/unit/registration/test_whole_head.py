"""Whole heads: told from brains, registered to a whole-head template, their brain mask carried back; never mixed."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from scipy.ndimage import distance_transform_edt, map_coordinates

from helpers.templates import template_on
from helpers.workflow import plan, snakemake
from voxelwhy.cohort.skull_stripping import judge_cohort, require_one_kind
from voxelwhy.errors import ConfigError, InputError, ShapeError
from voxelwhy.io.images import Grid, read_json, save_image
from voxelwhy.registration.register import register_scan
from voxelwhy.registration.template import find_head, make_head_template, make_template

MRICRON = Path("/usr/share/mricron/templates")
needs_ch2 = pytest.mark.skipif(
    not (MRICRON / "ch2.nii.gz").exists(), reason="Debian's mricron-data, which has ch2 and ch2bet, is not installed"
)


def make_head(mm):
    """A brain in a skull on the grid of the template, wide enough for it: data, brain mask (bool), affine.

    Fluid, 9 mm of bone almost without signal and 7 mm of bright scalp around the template's brain.
    """
    t1, mask = template_on(mm)
    more = round(30 / mm)
    inside = np.pad(np.asarray(mask.dataobj) > 0, more)
    far = distance_transform_edt(~inside, sampling=mm)
    data = np.pad(t1.get_fdata(), more) + 0.25 * ((far > 0) & (far <= 3)) + 0.08 * ((far > 3) & (far <= 12))
    data += 0.9 * ((far > 12) & (far <= 19))
    affine = t1.affine.copy()
    affine[:3, 3] -= more * mm
    return data, inside, affine


def moved(data, affine, motion, order=1, mm=4.0):
    """`data` carried by x -> motion @ x (mm) onto another lattice."""
    shape = np.ceil(np.array([240, 280, 250]) / mm).astype(int)
    grid = np.diag([mm] * 3 + [1.0])
    grid[:3, 3] = -118, -158, -104
    back = np.linalg.inv(affine) @ np.linalg.inv(motion) @ grid
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    places = back[:3, :3] @ places + back[:3, 3:]
    return map_coordinates(data, places, order=order).reshape(shape), grid


def motion():
    turn = np.deg2rad(7)
    affine = np.eye(4)
    affine[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([1.05, 0.94, 1.03])
    affine[:3, 3] = 5, -8, 4
    return affine


def dice(first, second):
    first, second = np.asarray(first) > 0.5, np.asarray(second) > 0.5
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Templates at 4 mm, the synthetic head as template file, and the same head moved as scan with its true mask."""
    folder = tmp_path_factory.mktemp("heads")
    for image, name in zip(template_on(4), ("template", "mask"), strict=True):
        nib.save(image, folder / f"{name}.nii.gz")
    data, inside, affine = make_head(2)
    save_image(folder / "head_file.nii.gz", data, affine)
    nib.save(make_head_template(folder / "head_file.nii.gz", 4)[0], folder / "head.nii.gz")
    scan, grid = moved(data, affine, motion())
    save_image(folder / "scan.nii.gz", 700 * scan, grid)
    save_image(folder / "brain.nii.gz", 700 * moved(data * inside, affine, motion())[0], grid)
    truth = moved(inside.astype(float), affine, motion())[0] > 0.5
    save_image(folder / "truth.nii.gz", truth.astype(np.uint8), grid)
    return folder


def run(folder, out, scan="scan.nii.gz", head="head.nii.gz", **settings):
    settings = {"transform": "affine", "n4": False} | settings
    paths = (folder / scan, folder / "template.nii.gz", folder / "mask.nii.gz")
    return register_scan(*paths, settings, out, scan_id="s1", head_path=head and folder / head)


@pytest.mark.parametrize("transform", ["affine", "syn_quick"])
def test_the_brain_mask_of_a_head_comes_back(folder, tmp_path, transform):
    quality = run(folder, tmp_path, transform=transform)
    assert quality["status"] == "ok", quality["reason"]
    assert quality["skull_stripped"] is False
    assert quality["correlation_brain"] > 0.95 and quality["mask_dice"] > 0.95
    mask, truth = nib.load(tmp_path / "brain_mask.nii.gz"), nib.load(folder / "truth.nii.gz")
    assert mask.get_data_dtype() == np.uint8 and set(np.unique(mask.dataobj)) == {0, 1}
    assert Grid.of(mask).same(Grid.of(folder / "scan.nii.gz"))
    assert dice(mask.dataobj, truth.dataobj) > 0.95
    assert quality["brain_cm3"] == pytest.approx(np.asarray(truth.dataobj).sum() * 64 / 1000, rel=0.03)
    assert quality["brain_cm3"] == pytest.approx(np.asarray(mask.dataobj).sum() * 64 / 1000)
    registered, brain = nib.load(tmp_path / "t1.nii").get_fdata(), np.asarray(nib.load(folder / "mask.nii.gz").dataobj)
    assert (registered[brain == 0] == 0).all() and (registered[brain > 0] > 0).mean() > 0.99
    assert {path.name for path in tmp_path.iterdir()} == {"t1.nii", "quality.json", "check.png", "brain_mask.nii.gz"}


def test_the_mask_comes_back_into_a_scan_that_is_stored_otherwise(folder, tmp_path):
    scan = nib.load(folder / "scan.nii.gz")
    wanted = nib.orientations.ornt_transform(nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt("LIP"))
    nib.save(scan.as_reoriented(wanted), tmp_path / "turned.nii.gz")
    run(folder, tmp_path / "out", scan=tmp_path / "turned.nii.gz")
    mask, truth = nib.load(tmp_path / "out" / "brain_mask.nii.gz"), nib.load(folder / "truth.nii.gz")
    assert nib.aff2axcodes(mask.affine) == ("R", "A", "S")
    assert dice(mask.dataobj, truth.dataobj) > 0.95


def test_the_same_head_twice_gives_the_same_bytes(folder, tmp_path):
    for name in ("first", "second"):
        run(folder, tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_a_failed_head_leaves_no_mask(folder, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no mask")

    monkeypatch.setattr("voxelwhy.registration.register.brain_mask_of_scan", fail)
    assert run(folder, tmp_path)["reason"] == "registration failed: no mask"
    assert {path.name for path in tmp_path.iterdir()} == {"quality.json", "check.png"}


def test_a_head_template_off_the_grid_is_refused(folder, tmp_path):
    with pytest.raises(ShapeError, match=r"head_file.nii.gz is not on the study's grid"):
        run(folder, tmp_path, head="head_file.nii.gz")


def extractor(tmp_path, body):
    """A program that takes the paths of a scan and of a brain."""
    script = tmp_path / "extract brain.py"
    script.write_text(f"import shutil, sys\nscan, brain = sys.argv[1:]\n{body}\n")
    return f"'{sys.executable}' '{script}' {{scan}} {{brain}}"


def test_an_external_extraction_makes_a_brain_of_a_head(folder, tmp_path):
    command = extractor(tmp_path, f"shutil.copy({str(folder / 'brain.nii.gz')!r}, brain)")
    settings = {"extract": command, "skull_stripped": "auto", "head": None}
    quality = run(folder, tmp_path / "out", **settings)
    assert quality["status"] == "ok" and quality["skull_stripped"] is False and quality["brain_cm3"] is None
    direct = run(folder, tmp_path / "direct", scan="brain.nii.gz", **settings)
    assert direct["skull_stripped"] is True
    assert direct["t1_hash"] == quality["t1_hash"] and direct["voxel_hash"] != quality["voxel_hash"]
    # A setting wins over what the scan looks like: nothing is taken out of what is said to be a brain.
    kept = run(folder, tmp_path / "kept", **settings | {"skull_stripped": "true"})
    assert kept["t1_hash"] != quality["t1_hash"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit('no GPU here')", "the brain extraction failed: exit status 1, no GPU here"),
        ("pass", "the brain extraction wrote no brain: "),
        ("shutil.copy(scan, brain)", "the brain extraction returned a whole head: "),
        ("open(brain, 'w').write('x')", "the image cannot be read: "),
    ],
)
def test_a_failed_extraction_is_a_result(folder, tmp_path, body, reason):
    settings = {"extract": extractor(tmp_path, body), "skull_stripped": "false", "head": None}
    quality = run(folder, tmp_path / "out", **settings)
    assert quality["status"] == "failed" and quality["reason"].startswith(reason)


@pytest.mark.parametrize("body", ["os.kill(os.getpid(), 9)", "sys.exit(137)"])
def test_an_extraction_that_was_killed_is_no_fault_of_the_scan(folder, tmp_path, body):
    """The job fails and runs again with more memory; as a result, the scan would be left out for good."""
    settings = {"extract": extractor(tmp_path, f"import os; {body}"), "skull_stripped": "false", "head": None}
    with pytest.raises(MemoryError, match="killed by signal 9"):
        run(folder, tmp_path / "out", **settings)


def test_a_missing_program_is_an_error_for_people(folder, tmp_path):
    settings = {"extract": "no-such-bet {scan} {brain}", "skull_stripped": "auto", "head": None}
    with pytest.raises(ConfigError, match=r"cannot be started[\s\S]*scans.extract[\s\S]*no-such-bet[\s\S]*install it"):
        run(folder, tmp_path, **settings)


def test_the_head_template_is_checked(folder, tmp_path):
    path = folder / "head_file.nii.gz"
    head, sha256 = make_head_template(path, 6)
    assert Grid.of(head).same(Grid.icbm(6)) and len(sha256) == 64
    assert make_head_template(path, 6, sha256=sha256.upper())[1] == sha256
    with pytest.raises(
        InputError, match=rf"is not the file that the config names[\s\S]*found: +'{sha256}'[\s\S]*allowed: {'0' * 64}"
    ):
        make_head_template(path, 6, sha256="0" * 64)
    with pytest.raises(InputError, match=r"skull-stripped[\s\S]*cm³ without a skull[\s\S]*mni_icbm152_t1_tal"):
        make_head_template(folder / "template.nii.gz", 6)
    image = nib.load(path)
    shifted = image.affine.copy()
    shifted[1, 3] += 12
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), shifted), tmp_path / "shifted.nii")
    with pytest.raises(InputError, match=r"not in the space of ICBM152[\s\S]*inside the brain: 0\.\d\d"):
        make_head_template(tmp_path / "shifted.nii", 6)


def test_without_network_the_error_says_what_to_place_where(tmp_path, monkeypatch):
    def offline(**_):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("voxelwhy.registration.template.fetch_icbm152_2009", offline)
    with pytest.raises(
        InputError,
        match=r"cannot be fetched[\s\S]*Name or service[\s\S]*mni_icbm152_t1_tal_nlin_sym_09a.nii[\s\S]*scans.template",
    ):
        find_head(None)
    with pytest.raises(InputError, match=r"does not exist[\s\S]*head.nii[\s\S]*set scans.template"):
        find_head(tmp_path / "head.nii")
    (tmp_path / "head.nii").write_bytes(b"x")
    assert find_head(str(tmp_path / "head.nii")) == tmp_path / "head.nii"


@pytest.fixture(scope="module")
def cohort(folder):
    """Paths by scan_id: brains b0…b24, heads h0…h24, and a broken file."""
    (folder / "broken.nii.gz").write_bytes(b"no image")
    paths = {f"b{n}": folder / "brain.nii.gz" for n in range(25)} | {f"h{n}": folder / "scan.nii.gz" for n in range(25)}
    return paths | {"broken": folder / "broken.nii.gz"}


def some(cohort, *names):
    return {name: cohort[name] for name in names}


def test_a_cohort_is_judged_by_a_spread_sample(cohort):
    brains = {name: path for name, path in cohort.items() if name.startswith("b") and name != "broken"}
    judged = judge_cohort(brains, "auto")
    assert judged["skull_stripped"] is True
    assert len(judged["looked_at"]) == 20
    names = [scan["scan_id"] for scan in judged["looked_at"]]
    assert names[0] == "b0" and names[-1] == "b24" and names == sorted(names, key=lambda name: int(name[1:]))
    assert judged["why"].startswith("all 20 examined scans look like brains (")
    assert judged == judge_cohort(brains, "auto")
    heads = judge_cohort(some(cohort, "h1", "broken", "h2"), "auto")
    assert heads["skull_stripped"] is False and len(heads["looked_at"]) == 2


def test_a_setting_wins_with_a_warning(cohort, caplog):
    for setting, kind in (("true", "h"), ("false", "b")):
        caplog.clear()
        judged = judge_cohort(some(cohort, f"{kind}1", f"{kind}2"), setting)
        assert judged["skull_stripped"] is (setting == "true")
        assert f"scans.skull_stripped is {setting}, but all 2 examined scans look like" in caplog.text
    caplog.clear()
    assert judge_cohort(some(cohort, "b1"), "true")["skull_stripped"] is True and not caplog.text
    assert judge_cohort(some(cohort, "broken"), "auto") == {
        "skull_stripped": True,
        "why": "none of the examined scans can be read",
        "looked_at": [],
    }


@pytest.mark.parametrize("setting", ["auto", "true", "false"])
def test_a_mix_is_refused_at_once(cohort, setting):
    with pytest.raises(InputError, match=r"mixes brains and whole heads[\s\S]*1 brain: b3 .*2 whole heads: h1 .*h2 "):
        judge_cohort(some(cohort, "h1", "b3", "h2"), setting)


def test_a_refusal_names_five_of_a_kind():
    kinds = {f"b{n}": (True, 1500.0) for n in range(7)} | {"h": (False, 4000.0)}
    with pytest.raises(InputError, match=r"7 brains: b0 \(1500 cm³\), .*b4 \(1500 cm³\) …; 1 whole head: h \(4000"):
        require_one_kind(kinds)
    assert require_one_kind(dict(list(kinds.items())[:7])) is None


def table(path):
    with open(path, encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@pytest.mark.slow
def test_a_study_of_whole_heads_through_the_workflow(folder, tmp_path):
    """The template is read from its path, never fetched; a missing one is named; a brain among heads is refused."""
    data = tmp_path / "data"
    data.mkdir()
    names = ["AD1", "CN1", "AD2", "CN2", "CN9"]
    scan = nib.load(folder / "scan.nii.gz")
    for number, name in enumerate(names):  # of each person another image
        brighter = np.asarray(scan.dataobj, dtype=np.float32) * (1 + number / 500)
        nib.save(nib.Nifti1Image(brighter, scan.affine), data / f"{name}.nii.gz")
    shutil.copy(folder / "brain.nii.gz", data / "CN8.nii.gz")
    classes = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
    config = {
        "study": "heads",
        "cohort": {"source": "folder", "table": "scans.csv", "data_dir": str(data), "classes": classes},
        "scans": {"template": str(folder / "head_file.nii.gz")},
        "registration": {"resolution_mm": 6, "transform": "rigid"},
        "splits": [{"kind": "holdout", "test_subjects": 1}],
        "training": {"network": "small"},
    }

    def configure(**changes):
        (tmp_path / "heads.yaml").write_text(yaml.safe_dump(config | changes))

    def run_until(rule):
        return snakemake(tmp_path, "--cores", "1", "--configfile", "heads.yaml", "--until", rule)

    def write(*names):
        rows = [f"{name}.nii.gz,{name[:2]},{name}" for name in names]
        (tmp_path / "scans.csv").write_text("\n".join(["path,label,subject", *rows]) + "\n")

    write(*names[:4])
    configure(scans={"template": str(tmp_path / "not here.nii")})
    code, text = run_until("select_scans")
    assert code != 0 and "not here.nii" in text and "set scans.template" in text and "Traceback" not in text
    skull = json.loads((tmp_path / "results/heads/cohort/skull.json").read_text())
    assert skull["skull_stripped"] is False and len(skull["looked_at"]) == 4
    assert not list((tmp_path / "results/heads").glob("registered/*"))

    configure()
    code, text = run_until("select_scans")
    assert code == 0, text[-3000:]
    results = tmp_path / "results/heads"
    card = read_json(results / "template/head.json")
    assert card["template"] == "head_file.nii.gz" and len(card["sha256"]) == 64
    masks = sorted(results.glob("registered/*/brain_mask.nii.gz"))
    assert len(masks) == 4
    assert dice(nib.load(masks[0]).dataobj, nib.load(folder / "truth.nii.gz").dataobj) > 0.93

    # One more scan registers one scan; a scan that a person rejects is not registered, but accounted for.
    write(*names)
    assert run_until("parse_tables")[0] == 0
    jobs = plan(tmp_path, "--configfile", "heads.yaml", "--until", "select_scans").counts()
    assert jobs["register_scan"] == 1 and "prepare_head_template" not in jobs
    known = {path.parent.name for path in masks}
    new = next(row["scan_id"] for row in table(results / "cohort/scans.tsv") if row["scan_id"] not in known)
    configure(registration=config["registration"] | {"skip": {new: "moved in the scanner"}})
    code, text = run_until("select_scans")
    assert code == 0 and not (results / "registered" / new).exists()
    excluded = table(results / "cohort/excluded.tsv")
    assert [(row["scan_id"], row["reason"], row["detail"]) for row in excluded] == [
        (new, "rejected by a person", "moved in the scanner")
    ]

    write(*names, "CN8")
    code, text = run_until("select_scans")
    assert code != 0 and "mixes brains and whole heads" in text and "Traceback" not in text
    configure(registration=config["registration"] | {"skip": {new: "moved", "sub-CN8_CN8": "a brain"}})
    code, text = run_until("select_scans")
    assert code == 0 and len(table(results / "cohort/excluded.tsv")) == 2
    configure(registration=config["registration"] | {"skip": {"sub-CN8_CN7": "a brain"}})
    code, text = run_until("select_scans")
    assert code != 0 and "did you mean sub-CN8_CN8?" in text and "Traceback" not in text


@needs_ch2
def test_a_real_head(tmp_path):
    """Colin27 moved by a known affine, with a bias field; ch2 as whole-head template. The mask against ch2bet."""
    resolution = 4
    for image, name in zip(template_on(resolution), ("template", "mask"), strict=True):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    nib.save(make_head_template(MRICRON / "ch2.nii.gz", resolution)[0], tmp_path / "head.nii.gz")
    head, brain = nib.load(MRICRON / "ch2.nii.gz"), nib.load(MRICRON / "ch2bet.nii.gz")
    icbm = make_template(1)[1]
    data, grid = moved(head.get_fdata(), head.affine, motion(), mm=2.0)
    across = np.linspace(-1, 1, data.shape[0])[:, None, None]
    save_image(tmp_path / "scan.nii.gz", data * np.exp(0.3 * across), grid)
    quality = run(tmp_path, tmp_path / "out")
    assert quality["status"] == "ok" and quality["skull_stripped"] is False
    assert quality["correlation_brain"] > 0.85
    ours = nib.load(tmp_path / "out" / "brain_mask.nii.gz").dataobj
    bet, _ = moved((brain.get_fdata() > 0).astype(float), brain.affine, motion(), mm=2.0)
    true, _ = moved(np.asarray(icbm.dataobj).astype(float), icbm.affine, motion(), mm=2.0)
    assert dice(ours, true) > 0.97
    # ICBM's mask has more fluid than ch2bet: carried without any error the two agree as well as this.
    assert dice(ours, bet) > dice(true, bet) - 0.01 > 0.92
