"""The path of `use_gpu` with a fake GPU: networks and scans are moved there, and results equal those of the CPU."""

import nibabel as nib
import numpy as np
import pytest
import torch

from helpers.fake_gpu import fake_gpu, is_on_gpu
from helpers.training_settings import SETTINGS
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import Explainer
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.weights import hash_weights, load_model, save_model
from voxelwhy.training.fold import train_fold

GPU = SETTINGS | {"schedule": "one_cycle", "average": "ema", "class_weights": "balanced", "keep": "best_validation"}


def run(small_cohort, classes, folder, settings, device):
    mask, paths, folds = small_cohort
    how = {"fold": 0, "classes": classes, "seed": 3, "code": {}, "checkpoints": folder, "device": device}
    return train_fold(folds, paths, mask, settings, **how)


def test_the_fake_refuses_tensors_of_two_devices_and_computes_on_those_of_one():
    with fake_gpu() as gpu:
        there = torch.ones(3).to(torch.device("cuda:0"))
        assert (there.device.type, (there * 2).device.type, there.cpu().device.type) == ("cuda", "cuda", "cpu")
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        layer = torch.nn.Linear(3, 2).to(torch.device("cuda:0"))
        assert all(map(is_on_gpu, layer.parameters()))
        layer(there).sum().backward()
        assert layer.weight.grad.device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            layer(torch.ones(3))
    assert gpu.moved >= 3


@pytest.mark.parametrize("settings", [SETTINGS, GPU, GPU | {"threads": 3, "seeds": 2}])
def test_a_training_on_a_gpu_ends_with_the_weights_of_the_cpu(small_cohort, classes, tmp_path, settings):
    with fake_gpu() as gpu:
        model, card, history, predictions = run(small_cohort, classes, tmp_path / "gpu", settings, "auto")
    assert card["device"] == "cuda:0"
    steps = settings["epochs"] * 2 * settings["seeds"]  # 8 scans in batches of 4
    assert gpu.pinned == steps
    assert gpu.moved > steps
    threads = {"threads": 1}  # more threads change the last bits on the CPU
    own, _, same, equal = run(small_cohort, classes, tmp_path / "cpu", settings | threads, "cpu")
    if settings["threads"] == 1:
        assert hash_weights(model) == hash_weights(own) and history.equals(same) and predictions.equals(equal)
    np.testing.assert_allclose(predictions["logit_positive"], equal["logit_positive"], atol=5e-3)


def test_a_training_that_was_killed_on_a_gpu_resumes_there(small_cohort, classes, tmp_path, monkeypatch):
    from voxelwhy.training import learner

    save = learner.save_checkpoint

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    whole, *_ = run(small_cohort, classes, tmp_path / "whole", GPU, "cpu")
    with fake_gpu():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(learner, "save_checkpoint", killed)
            run(small_cohort, classes, tmp_path / "c", GPU, "auto")
        resumed, *_ = run(small_cohort, classes, tmp_path / "c", GPU, "auto")
    assert hash_weights(resumed) == hash_weights(whole)


def test_scans_are_explained_on_the_gpu(small_cohort, classes, tmp_path):
    mask, paths, _ = small_cohort
    model, card, *_ = run(small_cohort, classes, tmp_path / "c", SETTINGS, "cpu")
    save_model(tmp_path / "model.pt", model, card)
    labels, how = np.ones(mask.shape, np.int32), {"options": {}, "output": "probability"}
    maps = []
    with fake_gpu():
        there, card = load_model(tmp_path / "model.pt", device=pick_device("auto"))
        assert all(map(is_on_gpu, there.parameters()))
        explain = Explainer(sensitivity_analysis, there, card, nib.Nifti1Image(mask.dataobj, mask.affine), labels, how)
        maps.append(explain(explain.read(paths["scan01"]), 1))
    here, card = load_model(tmp_path / "model.pt")
    explain = Explainer(sensitivity_analysis, here, card, mask, labels, how)
    maps.append(explain(explain.read(paths["scan01"]), 1))
    assert np.array_equal(*maps) and maps[0].any()
