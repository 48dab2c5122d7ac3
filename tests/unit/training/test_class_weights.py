"""The loss with classes weighted by how rare they are, and batches of a network that cannot take a lone scan."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from helpers.training_settings import SETTINGS
from voxelwhy.errors import InputError
from voxelwhy.networks.layers import takes_lone_scan
from voxelwhy.training import feeding, learner
from voxelwhy.training import loop as training
from voxelwhy.training.fold import load_fold

BALANCED = SETTINGS | {"class_weights": "balanced", "epochs": 1, "dropout": 0.0, "batch_size": 16}


@pytest.fixture
def data(small_cohort, classes):
    """Five controls and two patients to train on."""
    mask, paths, folds = small_cohort
    few = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)[0]
    train = few.sides["train"]
    ill, well = train[few.targets[train] == 1], train[few.targets[train] == 0]
    few.sides["train"] = np.sort(np.concatenate([ill[:2], well[:4], few.sides["test"][:1]]))
    return few


def test_weights_are_those_of_scikit_learn_from_the_training_scans_alone(data):
    targets = data.targets[data.sides["train"]]
    assert np.bincount(targets).tolist() == [5, 2]
    wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=targets)
    np.testing.assert_allclose(learner.class_weights(targets, BALANCED), wanted, rtol=1e-6)
    np.testing.assert_allclose(wanted, [7 / 10, 7 / 4])
    assert learner.class_weights(targets, SETTINGS) is None


def test_labels_outside_the_training_scans_change_no_weight(data):
    first = training.train_network(data, BALANCED, seed=5, fold=0)[1]["train_loss"][0]
    data.targets[data.sides["test"][1:]] = 1
    data.targets[data.sides["validation"]] = 1
    assert training.train_network(data, BALANCED, seed=5, fold=0)[1]["train_loss"][0] == first


def test_each_labelling_has_weights_of_its_own_counts(data):
    """By hand, from the same start: 2 of 7 patients, and 5 of 7 with the labels exchanged."""
    how = {"seed": 5, "fold": 0, "checkpoints": [None, None]}
    trained = training.train_networks(data, [data.targets, 1 - data.targets], BALANCED, **how)
    torch.manual_seed(training._stream((5, 0, 0), 0))
    start = learner.build_network("small", data.volumes.shape, dropout=0.0).train()
    scans, targets = data.batch(data.sides["train"])
    probabilities = start(scans).detach().double().softmax(1).numpy()
    for labels, (_, history) in zip((targets.numpy(), 1 - targets.numpy()), trained, strict=True):
        weights = np.where(labels == (labels.mean() > 0.5), 7 / 10, 7 / 4)
        by_hand = -(weights * np.log(probabilities[range(7), labels])).sum() / weights.sum()
        assert history["train_loss"][0] == pytest.approx(by_hand, abs=1e-5)


def test_the_loss_is_the_weighted_mean_by_hand(data):
    _, history = training.train_network(data, BALANCED, seed=5, fold=0)
    torch.manual_seed(training._stream((5, 0, 0), 0))
    start = learner.build_network("small", data.volumes.shape, dropout=0.0).train()
    scans, targets = data.batch(data.sides["train"])
    of_class = start(scans).detach().double().softmax(1).numpy()[range(7), targets]
    weights = np.where(targets == 1, 7 / 4, 7 / 10)
    by_hand = -(weights * np.log(of_class)).sum() / weights.sum()
    assert history["train_loss"][0] == pytest.approx(by_hand, abs=1e-5)
    assert abs(by_hand + np.log(of_class).mean()) > 1e-3


def test_the_validation_loss_is_weighted_alike(data):
    data.sides["validation"] = data.sides["validation"][:3]
    model, history = training.train_network(data, BALANCED, seed=5, fold=0)
    logits = torch.from_numpy(learner.predict_logits(model, data, data.sides["validation"], BALANCED))
    targets = data.targets[data.sides["validation"]]
    weights = np.where(targets == 1, 7 / 4, 7 / 10)
    losses = -logits.log_softmax(1).numpy()[range(3), targets]
    assert history["validation_loss"][0] == pytest.approx((weights * losses).sum() / weights.sum(), rel=1e-6)


def test_a_class_without_a_training_scan_is_refused(data):
    data.targets[:] = 0
    with pytest.raises(InputError, match=r"no training scan in this fold\n.*7 scans of the negative class, 0 of"):
        training.train_network(data, BALANCED, seed=5, fold=0)


def test_a_lone_last_scan_joins_the_batch_before_it_where_the_network_needs_that(data):
    order, shape = data.sides["train"], data.volumes.shape
    deep, plain = (learner.build_network(name, shape) for name in ("resnet18", "small"))
    assert takes_lone_scan(plain, (1, 1, *shape)) and not takes_lone_scan(deep, (1, 1, *shape))
    assert [len(part) for part in feeding.batches(plain, data, order, 3)] == [3, 3, 1]
    assert [len(part) for part in feeding.batches(deep, data, order, 3)] == [3, 4]
    assert np.array_equal(np.concatenate(feeding.batches(deep, data, order, 3)), order)
    assert [len(part) for part in feeding.batches(deep, data, order, 2)] == [2, 2, 3]
    assert [len(part) for part in feeding.batches(deep, data, order, 4)] == [4, 3]
    settings = SETTINGS | {"network": "resnet18", "dropout": 0, "epochs": 1, "batch_size": 3}
    assert np.isfinite(training.train_network(data, settings, seed=1, fold=0)[1]["train_loss"][0])
    for size, scans in ((1, order), (5, order[:1])):
        with pytest.raises(InputError, match="one scan at a time"):
            feeding.batches(deep, data, scans, size)
