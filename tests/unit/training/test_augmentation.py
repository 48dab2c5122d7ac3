"""What augmentation does to a training scan, how its draws are spread, and that they follow from the seed."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import shift as shifted_by_scipy
from scipy.stats import kstest

from voxelwhy.errors import ConfigError
from voxelwhy.io.images import Grid
from voxelwhy.networks.weights import hash_weights
from voxelwhy.report.wording import describe_augmentation, describe_loss
from voxelwhy.training import learner
from voxelwhy.training import loop as training
from voxelwhy.training.augmentation import Augmentation
from voxelwhy.training.fold import load_fold

SHAPE = (20, 22, 18)
AFFINE = np.diag([3.0, 3, 3, 1])
AFFINE[:3, 3] = [-28.5, -40, -30]  # the middle of the first axis is x = 0
ALL = {"flip": 0.5, "shift_mm": 6, "intensity": 0.1}


def picture(channels=1):
    return np.random.default_rng(0).standard_normal((channels, *SHAPE)).astype(np.float32)


def augmentation(affine=AFFINE, channels=("t1",), **settings):
    return Augmentation(settings, affine, SHAPE, channels)


def drawn(monkeypatch, where=(0, 0, 0), contrast=0.0):
    """All draws as they are said here."""
    rng = SimpleNamespace(random=lambda: 0.0, uniform=lambda *_: np.array(where), standard_normal=lambda: contrast)
    monkeypatch.setattr("voxelwhy.training.augmentation.np.random.default_rng", lambda seed: rng)


def test_a_flip_exchanges_left_and_right_and_changes_no_value():
    image, seeds = picture(2), range(200)
    flipping = augmentation(channels=("t1", "log_jacobian"), flip=0.3)
    mirrored = 0
    for seed in seeds:
        found = flipping(image, seed)
        assert type(found) is torch.Tensor and found.dtype == torch.float32
        assert np.array_equal(found, image) != np.array_equal(found, image[:, ::-1])
        mirrored += np.array_equal(found, image[:, ::-1])
    assert abs(mirrored / len(seeds) - 0.3) < 3 * np.sqrt(0.3 * 0.7 / len(seeds))


@pytest.mark.parametrize("off", [0, 1, -2, 0.5])
def test_a_flip_is_about_the_plane_between_the_hemispheres_not_the_middle_of_the_crop(off, monkeypatch):
    affine = AFFINE.copy()
    affine[0, 3] += 3 * off  # the crop begins so many voxels further to the right
    image = picture()[0]
    drawn(monkeypatch)
    found = augmentation(affine, flip=1)(image[None], 0)[0].numpy()
    for i in range(SHAPE[0]):
        mirror = -affine[0, 3] / 3 - (i + affine[0, 3] / 3)  # the index that lies at minus the x of index i
        if abs(mirror - round(mirror)) < 1e-9:
            wanted = image[round(mirror)] if 0 <= round(mirror) < SHAPE[0] else 0
            np.testing.assert_allclose(found[i], wanted, atol=2e-5)
    assert abs(found[8:12]).max() > 1


@pytest.mark.parametrize("voxels", [(2, 0, -1), (0.5, 0, 0), (1.25, -0.5, 0.75)])
def test_a_shift_moves_whole_and_part_voxels_and_fills_with_0(voxels, monkeypatch):
    image = picture(2)
    drawn(monkeypatch, where=np.divide(voxels, 4))
    found = augmentation(shift_mm=12, channels=("t1", "log_jacobian"))(image, 0).numpy()
    wanted = np.stack([shifted_by_scipy(one, voxels, order=1, mode="grid-constant") for one in image])
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    if voxels == (2, 0, -1):
        np.testing.assert_allclose(found[:, 2:, :, :-1], image[:, :-2, :, 1:], atol=2e-5)
        assert not found[:, :2].any() and not found[..., -1:].any()


def test_a_shift_is_in_mm_and_uniform_along_each_axis():
    affine = np.diag([1.0, 2, 4, 1])
    affine[0, 3] = -9.5
    image = np.zeros((1, *SHAPE), np.float32)
    image[0, 10, 11, 9] = 1
    centre, places = np.array([10, 11, 9]), np.indices(SHAPE).reshape(3, -1)
    shifting = augmentation(affine, shift_mm=5)
    moved = [places @ shifting(image, seed).numpy().ravel() - centre for seed in range(300)]
    mm = np.array(moved) * [1, 2, 4]
    for axis in mm.T:
        assert np.abs(axis).max() <= 5 + 1e-4
        assert kstest(axis, "uniform", (-5, 10)).pvalue > 0.01
    assert np.abs(np.corrcoef(mm.T) - np.eye(3)).max() < 0.2


def test_intensity_multiplies_intensities_alone_by_a_factor_of_that_spread():
    image = picture(3)
    changing = augmentation(channels=("t1", "log_jacobian", "t1"), intensity=0.2)
    logs = []
    for seed in range(300):
        found = changing(image, seed).numpy()
        factor = (found[0] / image[0]).mean()
        np.testing.assert_allclose(found[[0, 2]], factor * image[[0, 2]], rtol=1e-5)
        assert np.array_equal(found[1], image[1])
        logs.append(np.log(factor))
    assert kstest(np.array(logs) / 0.2, "norm").pvalue > 0.01
    assert np.array_equal(image, picture(3)), "the image that was given is as it was"


def test_what_is_not_asked_for_changes_nothing():
    volumes = SimpleNamespace(shape=SHAPE)
    for settings in ({}, {"flip": 0, "shift_mm": 0.0, "intensity": 0}):
        assert Augmentation.of(settings, volumes) is None
    image = picture()
    assert np.array_equal(augmentation(shift_mm=0)(image, 1), image)
    # What a draw is does not depend on which others are asked for.
    both, alone = (augmentation(flip=1, intensity=0.1), augmentation(intensity=0.1))
    assert np.array_equal(both(image, 5), alone(image, 5).flip(1))


def test_the_crop_is_counted_and_a_shift_out_of_the_volume_is_refused():
    box = (slice(3, 23), slice(0, 22), slice(2, 20))
    volumes = SimpleNamespace(shape=SHAPE, box=box, grid=Grid.icbm(3), channels=("t1",))
    cropped = Augmentation.of({"flip": 1}, volumes)
    assert cropped.off_centre == pytest.approx(2 * (32 - (3 + 9.5)))
    with pytest.raises(ConfigError, match="less than 54 mm"):
        augmentation(shift_mm=54)


def test_draws_follow_from_seed_epoch_and_scan_and_not_from_the_batch():
    images, changing = torch.randn(5, 1, *SHAPE), augmentation(**ALL)
    whole = changing.batch(images, np.arange(5), 7)
    parts = [changing.batch(images[[i]], np.array([i]), 7) for i in (4, 1, 0, 3, 2)]
    assert torch.equal(whole[[4, 1, 0, 3, 2]], torch.cat(parts))
    assert not torch.equal(whole, changing.batch(images, np.arange(5), 8))
    assert len({float(changing.batch(images[:1], np.array([i]), 7).sum()) for i in range(5)}) == 5
    state = torch.get_rng_state()
    changing.batch(images, np.arange(5), 7)
    assert torch.equal(torch.get_rng_state(), state), "dropout draws from there"


SETTINGS = {
    "network": "small", "channels": ["t1"], "crop": "brain", "normalisation": "scan", "optimiser": "adam",
    "schedule": "constant", "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 4, "epochs": 3, "dropout": 0.5,
    "keep": "last", "average": "none", "seeds": 1, "calibrate": "none",
    "threads": 1, "precision": "float32", "class_weights": "none", "augmentation": ALL,
}  # fmt: skip


@pytest.fixture
def data(small_cohort, classes):
    mask, paths, folds = small_cohort
    return load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)[0]


def test_a_resumed_training_ends_with_the_bytes_of_an_undisturbed_one(data, tmp_path, monkeypatch):
    whole, history = training.train_network(data, SETTINGS, seed=3, fold=0)
    again, _ = training.train_network(data, SETTINGS, seed=3, fold=0)
    other, _ = training.train_network(data, SETTINGS, seed=4, fold=0)
    plain, _ = training.train_network(data, SETTINGS | {"augmentation": {}}, seed=3, fold=0)
    save = learner.save_checkpoint

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train_network(data, SETTINGS, seed=3, fold=0, checkpoint=tmp_path / "c.pt")
    monkeypatch.setattr(learner, "save_checkpoint", save)
    resumed, rows = training.train_network(data, SETTINGS, seed=3, fold=0, checkpoint=tmp_path / "c.pt")
    assert rows.equals(history)
    assert hash_weights(whole) == hash_weights(again) == hash_weights(resumed)
    assert len({hash_weights(net) for net in (whole, other, plain)}) == 3


def test_only_training_scans_are_changed_and_only_while_training(data, monkeypatch):
    seen, batch = [], Augmentation.batch

    def noted(self, images, indices, stream):
        seen.extend(indices)
        return batch(self, images, indices, stream)

    monkeypatch.setattr(Augmentation, "batch", noted)
    model, history = training.train_network(data, SETTINGS | {"epochs": 2}, seed=3, fold=0)
    assert sorted(seen) == sorted([*data.sides["train"]] * 2)
    logits = torch.from_numpy(learner.predict_logits(model, data, data.sides["validation"], SETTINGS))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.targets[data.sides["validation"]]))
    assert loss.item() == pytest.approx(history["validation_loss"].iloc[-1])


def test_settings_of_nothing_change_no_byte(data):
    hashes = set()
    for nothing in ({}, {"flip": 0}, {"shift_mm": 0, "intensity": 0.0}):
        settings = SETTINGS | {"epochs": 1, "augmentation": nothing}
        hashes.add(hash_weights(training.train_network(data, settings, seed=3, fold=0)[0]))
    assert len(hashes) == 1


def test_a_training_without_augmentation_does_not_load_monai():
    code = "import sys, voxelwhy.training.loop; sys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_what_was_done_is_told_and_nothing_where_nothing_was():
    assert describe_augmentation({"augmentation": {}}) == describe_augmentation({"augmentation": {"flip": 0}}) == ""
    told = describe_augmentation({"augmentation": ALL})
    assert "probability 0.5, scans were shifted by up to 6 mm along each axis and intensities were multiplied" in told
    assert describe_loss({"class_weights": "balanced"}) == "cross-entropy, with balanced class weights"
