"""Networks whose answers are known: one that reads the background, the silhouette, age, a region or nothing is told."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

from voxelwhy import input_x_gradient
from voxelwhy.evaluation.follows import AUC, SPEARMAN
from voxelwhy.evaluation.probed_shortcuts import summarise_probes, with_probes
from voxelwhy.evaluation.shortcut_probes import (
    EMPTY,
    UNSEEN,
    Typical,
    decode,
    decoded_properties,
    features_of,
    missing_background,
    outside_rows,
    probe_features,
    probe_silhouettes,
    signal_of,
)
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import SHORTCUT_PROBES, SHORTCUTS
from voxelwhy.networks.ensemble import Ensemble
from voxelwhy.training.volumes import Normaliser, Volumes

CLASSES = {"positive": "AD", "negative": "CN"}
SIZE, MM = 20, (6.0, 6.0, 6.0)
AWAY = np.linalg.norm(np.indices((SIZE,) * 3) - 9.5, axis=0)
BRAIN, HEAD = AWAY < 6, AWAY < 9
#: Regions of the brain: one that atrophies, one that fades with age, and the rest.
LABELS = np.where(BRAIN, 3, 0)
LABELS[7:10, 7:10, 7:10], LABELS[11:14, 11:14, 11:14] = 1, 2
MASKS = {
    "region": LABELS == 1,
    "age": LABELS == 2,
    "background": HEAD & (AWAY > 8),
    "silhouette": (AWAY > 5) & (AWAY < 7),
}


class Reads(nn.Module):
    """The mean of each of the masks, then a linear layer; the score is the first of them times `slope`."""

    def __init__(self, *names, slope=1.0):
        super().__init__()
        masks = np.stack([MASKS[name].ravel() / MASKS[name].sum() for name in names])
        self.register_buffer("masks", torch.from_numpy(masks.astype(np.float32)))
        self.dense = nn.Linear(len(names), 2)
        self.eval()
        with torch.no_grad():
            self.dense.weight.zero_()
            self.dense.bias.zero_()
            self.dense.weight[1, 0] = slope

    def forward(self, images):
        return self.dense(images.flatten(1) @ self.masks.T)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Heads and brains of 24 subjects a class: the disease, age, the background and the size of the brain in turn.

    Patients have a darker region, a brighter background (heads) and a smaller silhouette (brains); age is no difference
    between the classes.
    """
    folder, rng = tmp_path_factory.mktemp("heads"), np.random.default_rng(5)
    rows, paths, properties = [], {"heads": {}, "brains": {}}, []
    for k in range(48):
        patient, scan = k % 2, f"s{k:02d}"
        age, female = rng.uniform(55, 90), float(rng.integers(2))
        image = np.where(HEAD, 100 + rng.normal(0, 2, BRAIN.shape), 0)
        image[MASKS["region"]] -= 20 * patient
        image[MASKS["age"]] -= age - 55
        head = image + np.where(MASKS["background"], 15 * patient, 0)
        silhouette = (5.5 if patient else 6.3) + rng.uniform(-0.2, 0.2) > AWAY
        for kind, values in (("heads", head), ("brains", np.where(silhouette, image, 0))):
            path = folder / f"{kind}{scan}.nii"
            nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([*MM, 1])), path)
            paths[kind][scan] = str(path)
        properties.append({"scan_id": scan, "age": age, "female": female})
        for fold in range(2):
            side = "test" if k // 2 % 2 == fold else "train"
            rows.append((fold, side, scan, f"p{k:02d}", "AD" if patient else "CN"))
    folds = pd.DataFrame(rows, columns=["fold", "side", "scan_id", "subject_id", "label"])
    return folds, paths, pd.DataFrame(properties).set_index("scan_id")


def reader_of(seen, kind="none", learnt=()):
    volumes = Volumes([], seen)
    normaliser = Normaliser.fit(kind, Volumes(learnt, seen), range(len(learnt)))
    reader = SimpleNamespace(volumes=volumes, normaliser=normaliser)

    def read(path):
        volumes.paths = [str(path)]
        return reader.normaliser(volumes[0], volumes.mask)

    reader.read = read
    return reader


def probed(model, cohort, kind, *, normalisation="none"):
    """Rows of the probes of a network, and their summary by check and property."""
    folds, paths, properties = cohort
    rows = []
    for _, own in folds.groupby("fold"):
        sample = own.loc[own["side"] == "train", "scan_id"]
        reader = reader_of(np.ones_like(BRAIN), normalisation, [paths[kind][scan] for scan in sample])
        found, _ = probe_silhouettes(reader, model, own, paths[kind], BRAIN, sample, MM)
        controls = own[own["label"] == "CN"]
        rows += found + probe_features(reader, model, controls, paths[kind], LABELS, [1, 2, 3], properties)
    rows = pd.DataFrame(rows)[list(SHORTCUT_PROBES.columns)]
    return rows, summarise_probes(rows, classes=CLASSES).set_index(["check", "property"])


def test_a_network_that_reads_the_background_is_told(cohort, tmp_path):
    rows, found = probed(Reads("background"), cohort, "heads")
    assert found.loc[("background", "background"), "low"] > 0.8
    # All heads have one silhouette.
    assert found.loc[("silhouette", "silhouette"), "value"] == 0.5
    assert found.loc[("background", "background"), "n_subjects"] == 48
    write_table(rows, tmp_path / "p.tsv", SHORTCUT_PROBES)
    first = pd.DataFrame([{"check": "unknown", "property": "site or scanner", "group": "all", "measure": "–"}])
    first = first.reindex(columns=list(SHORTCUTS.columns)).assign(n_subjects=48)
    table = with_probes(first, [tmp_path / "p.tsv"], classes=CLASSES)
    write_table(table, tmp_path / "s.tsv", SHORTCUTS)
    assert table["check"].iloc[-1] == "unknown" and len(table) == len(found) + 1
    assert with_probes(first, [], classes=CLASSES) is first


def test_a_background_that_only_some_folds_have_is_one_row(cohort):
    rows, _ = probed(Reads("background"), cohort, "heads")
    own = (rows["probe"] == "background") & (rows["fold"] == 1)
    rows.loc[own, ["value", "of"]] = np.nan, EMPTY
    found = summarise_probes(rows, classes=CLASSES)
    found = found[found["check"] == "background"]
    assert found["property"].tolist() == ["background"] and found["n_subjects"].tolist() == [24]


def test_a_network_that_reads_a_region_sees_nothing_in_silhouette_and_background(cohort):
    found = probed(Reads("region", slope=-1), cohort, "heads")[1]
    for check in ("silhouette", "background"):
        assert found.loc[(check, check), "value"] == 0.5
    # Its one feature does not tell age, which a region tells well.
    assert abs(found.loc[("decoded_network", "age"), "value"]) < 0.5
    assert found.loc[("decoded_regions", "age"), "low"] > 0.8


@pytest.mark.parametrize("normalisation", ["none", "scan", "voxelwise"])
def test_a_network_that_reads_the_silhouette_is_told(cohort, normalisation):
    found = probed(Reads("silhouette", slope=-1), cohort, "brains", normalisation=normalisation)[1]
    assert found.loc[("silhouette", "silhouette"), "low"] > 0.8
    assert ("background", EMPTY) in found.index and np.isnan(found.loc[("background", EMPTY), "value"])


@pytest.mark.parametrize("normalisation", ["none", "voxelwise"])
def test_a_network_that_reads_a_region_does_not_see_the_silhouette(cohort, normalisation):
    found = probed(Reads("region", slope=-1), cohort, "brains", normalisation=normalisation)[1]
    assert found.loc[("silhouette", "silhouette"), "value"] == 0.5


def test_a_network_whose_features_hold_age_is_told(cohort):
    found = probed(Reads("region", "age"), cohort, "heads")[1]
    row = found.loc[("decoded_network", "age")]
    assert row["low"] > 0.8 and row["measure"] == SPEARMAN and row["group"] == "CN" and row["n_subjects"] == 24
    sex = found.loc[("decoded_network", "sex (female)")]
    assert sex["measure"] == AUC and sex["low"] < 0.5 < sex["high"]  # sex is in no voxel


def test_a_network_that_ignores_its_input_is_told(cohort):
    model = Reads("region")
    model.masks.zero_()
    found = probed(model, cohort, "heads")[1]
    for check in ("silhouette", "background"):
        assert found.loc[(check, check), "value"] == 0.5
    assert np.isnan(found.loc[("decoded_network", "age"), "value"])


def test_relevance_outside_the_brain_is_that_of_the_map(cohort):
    folds, paths, _ = cohort
    chosen = folds[(folds["fold"] == 0) & (folds["side"] == "test")]
    reader = reader_of(np.ones_like(BRAIN))
    for name, expected in (("background", 1.0), ("region", 0.0)):
        maps = {("input_x_gradient", scan): input_x_gradient(Reads(name), reader.read(paths["heads"][scan]), 1,
                                                             apply_softmax=False)
                for scan in chosen["scan_id"]}  # fmt: skip
        rows = pd.DataFrame(outside_rows(maps, chosen, BRAIN))
        found = summarise_probes(rows, classes=CLASSES)
        assert found["value"].tolist() == pytest.approx([expected] * 2) and found["group"].tolist() == ["AD", "CN"]
        assert found["n_subjects"].tolist() == [12, 12]


def test_the_silhouette_is_filled_and_typical_values_are_means_over_scans_with_signal(rng):
    mask = np.ones((6, 6, 6), bool)
    one, two = (np.zeros((1, 6, 6, 6), np.float32) for _ in range(2))
    one[0, 1:5, 1:5, 1:5], two[0, 1:4, 1:5, 1:5] = 10, 30
    one[0, 2, 2, 2] = 0  # dark fluid
    assert signal_of(one, mask).sum() == 64 and signal_of(one, mask)[2, 2, 2]
    typical = Typical([one, two], mask)
    assert typical.values[0, 1, 1, 1] == 20 and typical.values[0, 4, 1, 1] == 10
    assert typical.signal[4, 1, 1] == 0.5 and typical.signal[0, 0, 0] == 0
    silhouette = typical.silhouette(two, mask)
    assert silhouette[0, 4, 1, 1] == 0 and silhouette[0, 1, 1, 1] == 20
    back = typical.background(one, signal_of(two, mask))
    assert back[0, 1, 1, 1] == 20 and back[0, 4, 1, 1] == 10


def test_why_there_is_no_background():
    full = np.ones_like(AWAY)
    assert missing_background(BRAIN, BRAIN, full, MM) == UNSEEN
    assert missing_background(BRAIN, np.ones_like(BRAIN), BRAIN.astype(float), MM) == EMPTY
    assert missing_background(BRAIN, np.ones_like(BRAIN), HEAD.astype(float), MM) == ""


def test_features_are_what_the_last_layer_reads(rng):
    images = [rng.normal(size=(1, SIZE, SIZE, SIZE)).astype(np.float32) for _ in range(10)]
    expected = np.array([[image[0][MASKS[name]].mean() for name in ("region", "age")] for image in images])
    np.testing.assert_allclose(features_of(Reads("region", "age"), images), expected, atol=1e-5)
    both = features_of(Ensemble([Reads("region", "age"), Reads("age")]), images)
    np.testing.assert_allclose(both, np.column_stack([expected, expected[:, 1]]), atol=1e-5)
    convolution = nn.Sequential(nn.Conv3d(1, 3, 3), nn.Conv3d(3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with torch.no_grad():
        inner = convolution[0](torch.from_numpy(np.stack(images))).mean(dim=(2, 3, 4)).numpy()
    np.testing.assert_allclose(features_of(convolution, images), inner, atol=1e-5)
    assert not convolution[1]._forward_pre_hooks


def test_decoding_is_ridge_or_logistic_regression_of_what_is_learnt(rng):
    features, learnt = rng.normal(size=(40, 3)), np.arange(40) < 30
    values = features[:, 0] + 0.1 * rng.normal(size=40)
    predicted = decode(features, values, SPEARMAN, learnt, ~learnt)
    assert stats.pearsonr(predicted, values[~learnt]).statistic > 0.95
    two = (values > 0).astype(float)
    z = (features - features[learnt].mean(axis=0)) / features[learnt].std(axis=0)
    peer = LogisticRegression(max_iter=5000).fit(z[learnt], two[learnt]).decision_function(z[~learnt])
    np.testing.assert_allclose(decode(features, two, AUC, learnt, ~learnt), peer, rtol=1e-6)
    assert decode(features, np.ones(40), AUC, learnt, ~learnt) is None
    assert decode(features, values, SPEARMAN, np.arange(40) < 5, ~learnt) is None


def test_properties_of_two_values_and_numbers_are_decoded():
    table = pd.DataFrame({"age": [60.0, 70, 80, np.nan], "female": [1.0, 0, 1, 0], "same": 1.0})
    table = table.assign(scanner=pd.Series(["b", "a", None, "b"], dtype=object),
                         site=pd.Series(list("abca"), dtype=object))  # fmt: skip
    found = decoded_properties(table)
    assert {name: entry[:2] for name, entry in found.items()} == {
        "age": ("age", SPEARMAN), "female": ("sex (female)", AUC), "scanner": ("scanner (b)", AUC)
    }  # fmt: skip
    np.testing.assert_array_equal(found["scanner"][2], [1, 0, np.nan, 1])
