"""Signs of maps through a whole split: a linear network, of which the effect of each region is known by hand."""

import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from voxelwhy import registry
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.heatmaps.explain_scans import explain_scans, write_part
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.merge_parts import merge_parts
from voxelwhy.io.tables import ATLAS, RELEVANCE, read_table
from voxelwhy.networks.weights import save_model
from voxelwhy.regions.aggregate import aggregate_regions

SHAPE = (4, 4, 4)
CARD = {"network": "linear", "options": {"dropout": 0.0}, "spatial_shape": list(SHAPE), "crop": "none"}
CARD |= {"channels": ["t1"], "normalisation": {"kind": "none", "mean": None, "scale": None}}
CARD |= {"weights_sha256": "a" * 64}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


#: What each scan loses if the first region is occluded, in the probability of AD; the second region has no effect.
DROP = {"seen": sigmoid(1) - sigmoid(-3), "missed": sigmoid(-1) - sigmoid(-3)}


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Two patients, z = 1 and z = -1: the network adds twice the mean of the first of two regions to -3."""
    built = SimpleNamespace(build=lambda shape, *, dropout=0.0: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)))
    monkeypatch.setitem(sys.modules, "tests_linear", built)
    monkeypatch.setitem(registry.NETWORKS, "linear", "tests_linear")
    model = built.build(SHAPE)
    labels = np.ones(SHAPE, np.int16)
    labels[2:] = 2
    with torch.no_grad():
        model[1].weight[:] = torch.from_numpy(np.where(labels == 1, 2 / 32, 0).astype(np.float32)).reshape(1, 64)
        model[1].bias[:] = -3
    affine = np.diag([4.0, 4, 4, 1])
    save_model(tmp_path / "model.pt", model, CARD | {"affine": affine.tolist()})
    paths = {}
    for name, value in (("seen", 2.0), ("missed", 1.0)):
        paths[name] = str(tmp_path / f"{name}.nii")
        nib.save(nib.Nifti1Image(np.full(SHAPE, value, np.float32), affine), paths[name])
    regions = pd.DataFrame({"region_id": [1, 2], "region": ["one", "two"], "voxels": 32, "volume_mm3": 32 * 64.0})
    atlas = (
        nib.Nifti1Image(labels, affine),
        ATLAS.validate(regions),
        nib.Nifti1Image(np.ones(SHAPE, np.uint8), affine),
    )
    scans = pd.DataFrame({"fold": 0, "scan_id": ["seen", "missed"], "subject_id": ["p1", "p2"], "label": "AD"})
    return {0: tmp_path / "model.pt"}, scans.assign(probability=[sigmoid(1), sigmoid(-1)]), paths, atlas


def run(split, classes, folder, target):
    """The mean maps of both patients, {name: value in the first region}, and the table of regions by group."""
    models, scans, paths, atlas = split
    settings = {"target": target, "output": "probability", "scans": ["seen", "missed"], "options": {}}
    (folder / "part").mkdir(parents=True)
    how = {"classes": classes, "maps_dir": folder / "part", "device": "cpu"}
    write_part(folder / "part", *explain_scans(area_occlusion, models, scans, paths, atlas, settings, **how))
    merge_parts(
        [folder / "part"], atlas[2], np.ones(SHAPE, bool), settings, method="area_occlusion", classes=classes,
        relevance_path=folder / "relevance.tsv", maps_dir=folder,
    )  # fmt: skip
    maps = {path.name.removesuffix(".nii.gz"): nib.load(path).get_fdata() for path in folder.glob("*.nii.gz")}
    for values in maps.values():
        assert np.ptp(values[:2]) == 0 and not values[2:].any()
    table = aggregate_regions(read_table(folder / "relevance.tsv", RELEVANCE), atlas[1], Groups(classes, target=target))
    return {name: values[0, 0, 0] for name, values in maps.items()}, table.set_index(["group", "region"])


def test_explained_for_the_positive_class_both_patients_count(split, classes, tmp_path):
    maps, regions = run(split, classes, tmp_path / "out", "positive")
    assert maps["mean_AD"] == pytest.approx((DROP["seen"] + DROP["missed"]) / 2, abs=1e-6)
    assert maps["mean_AD_scaled"] == pytest.approx(1 / 32)
    assert regions.loc[("AD", "one"), ["total", "share", "enrichment"]].tolist() == pytest.approx([1, 1, 2])
    assert regions.loc[("AD", "one"), "n_subjects"] == 2
    # By the decision, as explained for CN, the missed patient has the opposite sign.
    assert maps["mean_FN"] == pytest.approx(-DROP["missed"], abs=1e-6)
    assert regions.loc[("FN", "one"), "total"] == pytest.approx(-1)
    assert maps["mean_TP"] == pytest.approx(DROP["seen"], abs=1e-6)
    # The old mean: each scan's map of its predicted class, as it is.
    old = [maps[f"scan_{name}"] / (32 * DROP[name]) for name in ("seen", "missed")]
    assert sum(old) == pytest.approx(0, abs=1e-8) and min(map(abs, old)) > 0.03


def test_explained_for_the_predicted_class_a_missed_patient_does_not_cancel_one_that_was_seen(split, classes, tmp_path):
    maps, regions = run(split, classes, tmp_path / "out", "predicted")
    assert maps["scan_missed"] == pytest.approx(-DROP["missed"], abs=1e-6)  # a single map keeps its sign
    old = (maps["scan_seen"] + maps["scan_missed"]) / 2
    assert maps["mean_AD"] == pytest.approx(DROP["seen"] / 2, abs=1e-6) and maps["mean_AD"] > 1.4 * old
    assert maps["mean_AD_scaled"] == pytest.approx(1 / 64)
    assert regions.loc[("AD", "one"), "total"] == pytest.approx(0.5)
    assert regions.loc[("AD", "one"), "enrichment"] == pytest.approx(2)
