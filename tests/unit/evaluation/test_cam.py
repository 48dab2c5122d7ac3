"""Why Grad-CAM shows what it shows: cells, what their mean keeps, and the truth drawn on them; against closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.training_settings import SETTINGS
from voxelwhy.evaluation.cam import examine_grad_cam, loss_on_cells, mean_with_interval
from voxelwhy.evaluation.truth import PlantedRegions
from voxelwhy.explain.grad_cam import grad_cam, grad_cam_cells
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import Normaliser, Volumes


def dense(channels, cells, bias=0.0):
    """A convolution of size 1 and one dense layer on its cells; the weights of class 1."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv3d(1, channels, 1), nn.Flatten(), nn.Linear(channels * cells, 2)).double().eval()
    nn.init.constant_(net[2].bias, bias)
    return net, net[2].weight[1].detach().reshape(channels, -1).numpy()


def test_cell_by_cell_the_map_adds_up_to_the_logit():
    """Its positive and its negative part, the latter from the negated layer: together the logit less the bias."""
    net, _ = dense(3, 27, bias=0.7)
    image = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    how = {"apply_softmax": False, "resize": False, "cellwise": True, "device": "cpu"}
    positive = grad_cam(net, image, 1, **how).sum()
    with torch.no_grad():
        logit = net(image[None, None])[0, 1].item()
        net[2].weight.neg_()
    negative = grad_cam(net, image, 1, **how).sum()
    assert positive > 0.1 and negative > 0.1
    assert positive - negative == pytest.approx(logit - 0.7, abs=1e-9)


def test_what_the_mean_keeps_of_the_gradient_of_a_dense_layer():
    net, weights = dense(4, 64)
    image = torch.ones(4, 4, 4, dtype=torch.float64)
    found = grad_cam_cells(net, image, 1, apply_softmax=False, device="cpu")
    assert found.kept == pytest.approx(np.abs(weights.mean(1)).sum() / np.abs(weights).mean(1).sum(), abs=1e-12)
    assert 0 < found.kept < 0.5
    assert [list(places) for places in found.centres] == [[0, 1, 2, 3]] * 3


def test_after_a_mean_over_the_cells_nothing_is_lost_and_both_maps_are_one():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    image = torch.randn(8, 8, 8)
    assert grad_cam_cells(net, image, 1, device="cpu").kept == pytest.approx(1, abs=1e-6)
    maps = [grad_cam(net, image, 1, cellwise=choice, device="cpu") for choice in (False, True)]
    np.testing.assert_allclose(*maps, atol=1e-9 + 1e-6 * maps[0].max())
    assert maps[0].max() > 0


def test_the_loss_on_cells_is_the_mean_within_each_cell():
    loss = np.random.default_rng(3).random((8, 8, 8))
    volumes = Volumes([], np.ones((8, 8, 8), bool))
    centres, step = [np.array([1.5, 5.5])] * 3, [4.0] * 3
    drawn = loss_on_cells(-loss, centres, step, volumes)
    # At the voxel next to both centres' midpoint in each axis the map is linear between the means of the 8 cells.
    means = loss.reshape(2, 4, 2, 4, 2, 4).mean(axis=(1, 3, 5))
    share = np.interp(np.arange(8), [1.5, 5.5], [0, 1])
    weights = np.stack([1 - share, share])
    expected = np.einsum("abc,ax,by,cz->xyz", means, weights, weights, weights)
    np.testing.assert_allclose(drawn, expected, atol=0.02 + 1e-9)


def test_mean_and_interval_are_students():
    found = mean_with_interval([0.1, 0.2, 0.3], "kept")
    assert found["kept"] == pytest.approx(0.2)
    assert found["kept_high"] - 0.2 == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    assert np.isnan(mean_with_interval([0.1], "kept")["kept_low"])


def test_the_patients_of_a_study_are_examined(small_cohort, classes, tmp_path):
    """The mean map of the cells against maps made one by one; subjects, and not scans, are the unit."""
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"normalisation": "scan", "crop": "brain", "epochs": 3}
    how = {"fold": 0, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path}
    model, card, _, predictions = train_fold(folds, paths, mask, settings, **how)
    save_model(tmp_path / "model.pt", model, card)
    tested = predictions[predictions["label"] == "AD"]
    brain = np.asarray(mask.dataobj) > 0
    labels = np.zeros(mask.shape, np.int32)
    labels[:10], labels[10:] = 1, 2
    change = np.zeros(mask.shape)
    change[4:8, 4:8, 4:8] = -0.3
    atlas = pd.DataFrame({"region_id": [1, 2], "region": ["a", "b"]})
    planted = PlantedRegions(change, labels * brain, brain, atlas)
    given = {"output": "logit", "options": {}, "network": settings["network"], "most_subjects": None, "scans": []}
    how = {"positive": "AD", "threshold": 0.001}
    facts, maps = examine_grad_cam(
        {0: tmp_path / "model.pt"}, predictions, paths, labels * brain, brain, mask, planted, given, **how
    )
    assert len(predictions) > len(tested)
    one, _ = examine_grad_cam(
        {0: tmp_path / "model.pt"}, predictions, paths, labels * brain, brain, mask, planted,
        given | {"most_subjects": 1}, **how,
    )  # fmt: skip
    assert one["n_subjects"] == 1
    assert (facts["n_subjects"], facts["n_scans"]) == (tested["subject_id"].nunique(), len(tested)) == (2, 2)
    assert 0 < facts["kept"] <= 1 and facts["ceiling_auprc"] == 1
    volumes = Volumes([], brain, crop="brain", grid=None)
    loaded, wanted = load_model(tmp_path / "model.pt")[0], []
    for scan in tested["scan_id"]:
        volumes.paths = [str(paths[scan])]
        image = Normaliser("scan")(volumes[0], volumes.mask)
        own = brain * volumes.uncrop(grad_cam(loaded, image, 1, apply_softmax=False, cellwise=True, device="cpu"))
        wanted.append(own / np.abs(own).sum())
    np.testing.assert_allclose(maps["cellwise"], np.mean(wanted, axis=0), atol=1e-6 * np.max(wanted))
    assert maps["ceiling"][7, 7, 7] > 0 and not maps["ceiling"][~brain].any()
