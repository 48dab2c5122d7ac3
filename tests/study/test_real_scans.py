"""Six real scans through the BIDS reader, from the dataset's folder to the report; skipped where there are none."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from helpers.studies import Study

REAL = os.environ.get("VOXELWHY_REAL_SCANS")
PEOPLE = ("sub-01", "sub-02", "sub-03", "sub-05", "sub-12", "sub-16")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL, reason="VOXELWHY_REAL_SCANS names no real scans"),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    data = folder / "dataset"
    data.mkdir()
    source = Path(REAL)
    (data / "dataset_description.json").write_bytes((source / "dataset_description.json").read_bytes())
    header, *lines = (source / "participants.tsv").read_text().splitlines()
    people = [line for line in lines if line.split("\t")[0] in PEOPLE]
    (data / "participants.tsv").write_text("\n".join([header, *people]) + "\n")
    for name in PEOPLE:
        (data / name).symlink_to(source / name)
    config = {
        "study": "real",
        "seed": 3,
        "cohort": {
            "source": "bids",
            "data_dir": str(data),
            "label": "sex",
            "classes": {"positive": {"name": "F", "values": ["F"]}, "negative": {"name": "M", "values": ["M"]}},
        },
        "registration": {"resolution_mm": 4, "batch": 8, "transform": "affine"},  # SyN takes ten times as long
        "splits": [
            {"kind": "holdout", "test_subjects": 1},
            {"name": "accuracy", "kind": "kfold", "folds": 2, "heatmaps": False},
        ],
        "training": {"network": "compact", "crop": "brain", "normalisation": "scan", "epochs": 2},
        "heatmaps": {
            "methods": {
                "sensitivity_analysis": {},
                "occlusion": {"size_mm": 48, "stride_mm": 48},
                "area_occlusion": {},
                "grad_cam": {},
            }
        },
        "evaluation": {"bootstrap": 100},
        "trust": {"subjects": 2, "seeds": 2},
    }
    study = Study(folder, config)
    study.text = study.run()
    return study


def test_every_person_is_a_scan_with_sex_and_age(real):
    scans, source = real.rows("cohort/scans.tsv"), Path(REAL, "participants.tsv").read_text().splitlines()
    people = [dict(zip(source[0].split("\t"), line.split("\t"), strict=True)) for line in source[1:]]
    wanted = {p["participant_id"]: (p["sex"], float(p["age"])) for p in people if p["participant_id"] in PEOPLE}
    found = {f"sub-{s['subject_id'].removeprefix('sub-')}": (s["label"], float(s["age"])) for s in scans}
    assert found == wanted
    assert len({label for label, _ in found.values()}) == 2
    assert real.rows("cohort/dropped.tsv") == []


def test_the_scans_are_brains_and_lie_on_the_template(real):
    assert json.loads(real.result("cohort/skull.json").read_text())["skull_stripped"] is True
    selected = real.rows("cohort/selected.tsv")
    assert len(selected) == 6 and real.rows("cohort/excluded.tsv") == []
    template = nib.load(real.result("template/t1.nii.gz")).get_fdata()
    mask = nib.load(real.result("template/brain_mask.nii.gz")).get_fdata() > 0
    for row in selected:
        image = nib.load(real.folder / row["t1"]).get_fdata()
        correlation = np.corrcoef(image[mask], template[mask])[0, 1]
        assert correlation == pytest.approx(float(row["correlation_brain"]), abs=1e-3)
        assert correlation > 0.3 and float(row["mask_dice"]) > 0.85


def test_the_report_has_every_section_of_real_scans(real):
    page = real.result("report.html").read_text()
    for heading in ("Cohort", "Registration", "Performance", "Heatmaps", "Regions", "Agreement", "Trust", "Methods"):
        assert re.search(rf"<h2[^>]*>\s*{heading}", page), heading
    assert "Planted truth" not in page
    assert "No networks were trained on shuffled diagnoses" in page, "with what 19 draws would take"
    assert "the estimate of accuracy is imprecise" in real.text


def test_a_split_without_heatmaps_has_its_accuracy_and_nothing_else(real):
    folder = real.result("splits/accuracy")
    assert not (folder / "heatmaps").exists() and not (folder / "regions").exists()
    assert {path.stem for path in (folder / "tables").glob("*.tsv")} == {
        "table1", "metrics", "trust", "clinical", "shortcuts"
    }  # fmt: skip
    assert (folder / "figures" / "roc.png").exists() and not (folder / "figures" / "agreement.png").exists()
    sentences = json.loads((folder / "evaluation" / "summary.json").read_text())["sentences"]
    assert "6 subjects, 6 scans" in sentences[0]
    assert sentences[1] == "No heatmaps were computed for this split, which serves to estimate accuracy only."
    assert real.result("splits/holdout/heatmaps/occlusion/maps/mean_all.nii.gz").exists()
