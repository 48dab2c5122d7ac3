"""Shapley values of regions: closed forms, all orders by hand, axioms, and whether the standard error covers."""

from itertools import permutations
from math import factorial

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from helpers.heatmap_cases import SHAPES, network, picture
from voxelwhy import area_occlusion, deletion_curve, region_shapley
from voxelwhy.errors import ConfigError, InputError, ModelError, ShapeError
from voxelwhy.explain._shared.prepare import class_score
from voxelwhy.explain.region_shapley import every_set, permuted

LOGIT = {"target_class": 1, "apply_softmax": False}


class OfSums(nn.Module):
    """A logit that is a function of the sums over the columns of a 2D image."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images.sum(dim=(1, 2)))


def columns(n, rows=2):
    """An image of n columns with values of 1 to 2, and an atlas in which each is a region."""
    image = torch.linspace(1, 2, rows * n, dtype=torch.float64).reshape(1, rows, n)
    return image, np.tile(np.arange(1, n + 1), (rows, 1))


def slabs(ndim, n):
    """An atlas of n regions of about the same size, in no simple shape."""
    return np.arange(np.prod(SHAPES[ndim])).reshape(SHAPES[ndim]) // 7 % n + 1


def score_with(net, image, labels, blank, target, apply_softmax, value=0.0):
    copy = torch.where(torch.as_tensor(np.isin(labels, list(blank))), torch.as_tensor(value, dtype=image.dtype), image)
    with torch.inference_mode():
        return float(class_score(net(copy[None]), target, apply_softmax))


@pytest.mark.parametrize("n_permutations", [None, 4, 20])
def test_in_an_additive_network_each_value_is_the_single_effect(n_permutations):
    image, labels = columns(7)
    weights = torch.tensor([3.0, -1, 0, 2, 0.5, -4, 1], dtype=torch.float64)
    found = region_shapley(
        OfSums(lambda sums: sums @ weights).eval(), image, labels, n_permutations=n_permutations, **LOGIT
    )
    wanted = (image.sum(dim=(0, 1)) * weights).numpy()
    np.testing.assert_allclose(found.values, wanted, atol=1e-12)
    np.testing.assert_allclose(found.standard_errors, 0, atol=1e-12)
    assert found.regions == list(range(1, 8)) and found.n_permutations == (n_permutations or 0)
    single = area_occlusion(OfSums(lambda sums: sums @ weights).eval(), image, labels, positive_only=False, **LOGIT)
    np.testing.assert_allclose(found.heatmap, single, atol=1e-12)


@pytest.mark.parametrize("n_permutations", [None, 4])
def test_a_product_of_two_regions_is_shared_in_halves(n_permutations):
    """Antithetic pairs are exact for it: each region comes once before the other and once after."""
    image, labels = columns(5)
    net = OfSums(lambda sums: sums[:, 1] * sums[:, 3]).eval()
    found = region_shapley(net, image, labels, n_permutations=n_permutations, **LOGIT)
    whole = float(net(image[None]))
    np.testing.assert_allclose(found.values, [0, whole / 2, 0, whole / 2, 0], atol=1e-12)
    assert found.standard_error < 1e-12


def test_a_product_of_three_regions_is_shared_in_thirds():
    image, labels = columns(4)
    found = region_shapley(OfSums(lambda sums: sums[:, :3].prod(dim=1)).eval(), image, labels, **LOGIT)
    whole = float(image.sum(dim=(0, 1))[:3].prod())
    np.testing.assert_allclose(found.values, [whole / 3] * 3 + [0], atol=1e-12)


def by_coalitions(net, image, labels, n, target, apply_softmax):
    """The definition: over all sets of the other regions, weighted by the orders in which they come first."""
    scores = {}
    for number in range(2**n):
        blank = frozenset(k + 1 for k in range(n) if number >> k & 1)
        scores[blank] = score_with(net, image, labels, blank, target, apply_softmax)
    values = np.zeros(n)
    for blank, score in scores.items():
        for region in set(range(1, n + 1)) - blank:
            share = factorial(len(blank)) * factorial(n - len(blank) - 1) / factorial(n)
            values[region - 1] += share * (score - scores[blank | {region}])
    return values


@pytest.mark.parametrize("engine", ["incremental", "plain"])
@pytest.mark.parametrize("apply_softmax", [True, False], ids=["probability", "logit"])
def test_a_small_cnn_with_ten_regions_equals_all_coalitions(engine, apply_softmax):
    net, image, labels = network(3), picture(3), slabs(3, 10)
    found = region_shapley(net, image, labels, 2, apply_softmax=apply_softmax, engine=engine)
    wanted = by_coalitions(net, image, labels, 10, 2, apply_softmax)
    assert np.abs(wanted).max() > 0.02
    np.testing.assert_allclose(found.values, wanted, atol=1e-9)
    assert found.n_permutations == 0 and found.standard_error == 0


def test_values_are_means_over_all_orders():
    """Castro 2009: of four regions, all 24 orders by hand."""
    net, image, labels = network(2), picture(2), slabs(2, 4)
    wanted = np.zeros(4)
    for order in permutations(range(1, 5)):
        for turn, region in enumerate(order):
            before, after = (score_with(net, image, labels, order[: turn + k], 0, True) for k in (0, 1))
            wanted[region - 1] += (before - after) / factorial(4)
    found = region_shapley(net, image, labels, 0)
    np.testing.assert_allclose(found.values, wanted, atol=1e-12)


@pytest.mark.parametrize("engine", ["incremental", "plain"])
@pytest.mark.parametrize("options", [{}, {"n_permutations": 6}], ids=["exact", "sampled"])
def test_values_add_up_to_the_score_without_that_of_the_blank_image(engine, options):
    net, image, labels = network(3), picture(3), slabs(3, 9)
    found = region_shapley(net, image, labels, 1, 0.3, engine=engine, **options)
    whole, blank = (score_with(net, image, labels, names, 1, True, 0.3) for names in ((), range(1, 10)))
    assert abs(whole - blank) > 0.05
    assert (found.score, found.blank_score) == pytest.approx((whole, blank), abs=1e-10)
    assert found.values.sum() == pytest.approx(whole - blank, abs=1e-10)


def test_the_standard_error_covers_in_repeated_seeds():
    """Values of a network with effects of many regions at once, 60 seeds of 30 pairs: Student's 95 % interval."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 1)).double().eval()
    image, labels = columns(8)
    exact = region_shapley(net, image, labels, **LOGIT)
    found = [region_shapley(net, image, labels, n_permutations=60, seed=seed, **LOGIT) for seed in range(60)]
    values, errors = (np.array([getattr(one, name) for one in found]) for name in ("values", "standard_errors"))
    uneven = errors.min(axis=0) > 1e-6
    assert uneven.sum() >= 6
    covered = np.abs(values - exact.values)[:, uneven] <= stats.t.ppf(0.975, 29) * errors[:, uneven]
    assert 0.92 <= covered.mean() <= 0.98
    # The mean square of the errors is the variance over seeds; each of 60 seeds gives n - 1 = 59 degrees of freedom.
    ratio = (values.var(axis=0, ddof=1) / (errors**2).mean(axis=0))[uneven]
    assert stats.chi2.ppf(0.0005, 59) / 59 < ratio.min() and ratio.max() < stats.chi2.ppf(0.9995, 59) / 59


def test_antithetic_pairs_are_orders_and_their_reverse():
    states = permuted(6, 8, seed=1)
    assert states.shape == (48, 6)
    for pair in states.reshape(4, 2, 6, 6):
        order = [
            int(np.flatnonzero(now ^ last)[0])
            for now, last in zip(pair[0], [np.zeros(6, bool), *pair[0]], strict=False)
        ]
        back = [*pair[1][::-1], pair[0][-1]]  # from the whole image to the blank one
        reverse = [int(np.flatnonzero(a ^ b)[0]) for a, b in zip(back[1:], back, strict=False)]
        assert sorted(order) == list(range(6)) and reverse == order[::-1]
    assert (np.diff(every_set(5).astype(int), axis=0) != 0).sum(axis=1).tolist() == [1] * 30
    assert len(np.unique(every_set(5), axis=0)) == 31


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_orders():
    net, image, labels = network(3, torch.float32), picture(3, torch.float32), slabs(3, 14)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = (
        region_shapley(net, image, labels, 1, n_permutations=4, seed=seed, engine="incremental") for seed in (3, 3, 4)
    )
    for name in ("values", "standard_errors", "score", "blank_score"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert not np.array_equal(first.values, other.values)
    assert torch.equal(torch.get_rng_state(), state)
    by_default = region_shapley(net, image, labels, 1)
    assert by_default.n_permutations == 20 and by_default.standard_error > 0
    assert by_default.standard_error == by_default.standard_errors.max()


def test_a_batch_is_its_images_one_by_one():
    net, image, labels = network(2), picture(2), slabs(2, 13)
    both = region_shapley(net, torch.stack([image, -image]), labels, [0, 2], n_permutations=4)
    each = [region_shapley(net, one, labels, k, n_permutations=4) for one, k in ((image, 0), (-image, 2))]
    for name in ("values", "standard_errors", "score", "blank_score", "heatmap"):
        assert np.array_equal(getattr(both, name), np.stack([getattr(one, name) for one in each]))


def test_merged_regions_are_one_player():
    net, image, labels = network(2), picture(2), slabs(2, 6)
    found = region_shapley(net, image, labels, 1, merge={"left": [1, 4], "right": [2]})
    assert found.regions == ["left", "right", 3, 5, 6]
    renamed = np.array([0, 1, 2, 3, 1, 4, 5])[labels]
    wanted = by_coalitions(net, image, renamed, 5, 1, True)
    np.testing.assert_allclose(found.values, wanted, atol=1e-10)
    assert np.array_equal(found.heatmap, np.concatenate([[0], found.values])[renamed])
    many = region_shapley(net, image, slabs(2, 30), merge={k: range(5 * k + 1, 5 * k + 6) for k in range(6)})
    assert many.regions == list(range(6)) and many.n_permutations == 0


def test_masks_are_regions_as_labels_are():
    net, image, labels = network(2), picture(2), slabs(2, 5)
    wanted = region_shapley(net, image, labels, 1)
    masks = [labels == k for k in range(1, 6)]
    far = [3_000_000 * k for k in range(1, 6)]
    for same, names in ((masks, [0, 1, 2, 3, 4]), (np.array(masks), [0, 1, 2, 3, 4]), (labels * 3_000_000, far)):
        found = region_shapley(net, image, same, 1)
        assert np.array_equal(found.values, wanted.values) and found.regions == names


def test_regions_that_are_blank_already_have_no_value():
    net, image, labels = network(2), picture(2), slabs(2, 5)
    image[torch.as_tensor(labels == 2)[None]] = 0
    found = region_shapley(net, image, labels, 1, n_permutations=4, engine="incremental")
    assert abs(found.values[1]) < 1e-15 and np.abs(np.delete(found.values, 1)).min() > 1e-4


def test_a_deletion_curve_is_that_of_copies_blanked_by_hand():
    net, image, labels = network(3), picture(3), slabs(3, 9)
    order = [4, 9, 1, 7, 2]
    for engine in ("incremental", "plain"):
        found = deletion_curve(net, image, labels, order, 2, 0.3, engine=engine)
        wanted = [score_with(net, image, labels, order[:k], 2, True, 0.3) for k in range(6)]
        assert np.ptp(wanted) > 0.05
        np.testing.assert_allclose(found, wanted, atol=1e-10)
    both = deletion_curve(net, torch.stack([image, -image]), labels, order, 2, 0.3)
    assert both.shape == (2, 6)
    np.testing.assert_allclose(both[0], wanted, atol=1e-10)


@pytest.mark.parametrize("method", [region_shapley, lambda *a, **k: deletion_curve(*a[:3], [1], *a[3:], **k)])
def test_what_cannot_work_is_refused_as_by_the_other_methods(method):
    net, image, labels = network(2), picture(2), slabs(2, 5)
    overlapping = [labels <= 2, labels >= 2]
    for bad, error, words in (
        (labels[:, :15], ShapeError, r"label image has shape \(19, 15\), the image \(19, 16\)"),
        (np.full((19, 16), 0.5), InputError, "whole numbers"),
        (np.zeros((19, 16)), InputError, "no area to blank"),
        ([], InputError, "no area to blank"),
        (overlapping, InputError, "areas overlap"),
    ):
        with pytest.raises(error, match=words):
            method(net, image, bad)
    moved = [
        nib.Nifti1Image(array.astype(np.float32), np.diag([k, 1, 1, 1]))
        for k, array in ((1, image[0].numpy()), (2, labels))
    ]
    with pytest.raises(ShapeError, match="affine"):
        method(net, *moved)
    with pytest.raises(ModelError, match="classes 0 to 2"):
        method(net, image, labels, 3)
    with pytest.raises(ModelError, match="training mode"):
        method(network(2).train(), image, labels)
    with pytest.raises(ShapeError, match="NaN"):
        method(net, image / 0, labels)
    for more, words in (
        ({"occlusion_value": np.nan}, "finite"),
        ({"engine": "fast"}, "engine"),
        ({"batch_size": 0}, "1"),
    ):
        with pytest.raises(ConfigError, match=words):
            method(net, image, labels, **more)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_permutations": 2}, "at least 4"),
        ({"n_permutations": 7}, "in pairs"),
        ({"n_permutations": 6.0}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"merge": [1, 2]}, "dict"),
        ({"merge": {"a": [1, 9]}}, "names no area"),
        ({"merge": {"a": [1, 2], "b": [2]}}, "the same label"),
        ({"merge": {"a": []}}, "no label"),
        ({"merge": {5: [1, 2]}}, "that of another area"),
    ],
)
def test_options_of_shapley_values_are_checked(options, words):
    with pytest.raises(ConfigError, match=words):
        region_shapley(network(2), picture(2), slabs(2, 5), **options)


@pytest.mark.parametrize(("order", "words"), [([], "no area"), ([1, 8], "no area"), ([1, 2, 1], "twice")])
def test_an_order_names_each_region_at_most_once(order, words):
    with pytest.raises(ConfigError, match=words):
        deletion_curve(network(2), picture(2), slabs(2, 5), order)


def test_masks_without_a_voxel_are_no_regions():
    with pytest.raises(InputError, match="all masks are 0"):
        region_shapley(network(2), picture(2), [np.zeros((19, 16))])
