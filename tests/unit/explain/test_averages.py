"""Mean heatmaps over datasets against means by hand, and the distance of heatmaps against that of the studies."""

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from helpers.heatmap_cases import SHAPES, network, picture
from voxelwhy import average_over_dataset, heatmap_distance, occlusion, sensitivity_analysis
from voxelwhy.errors import ConfigError, InputError, ShapeError
from voxelwhy.evaluation.agreement import compare_maps

LABELS = [0, 2, 1, 2, 0]


@pytest.fixture(scope="module")
def net():
    return network(2)


@pytest.fixture(scope="module")
def images():
    return [picture(2) * scale for scale in (1.0, -0.5, 0.2, 0.8, -1.2)]


@pytest.fixture(scope="module")
def maps(net, images):
    """The heatmap of each image, by itself."""
    return np.stack([sensitivity_analysis(net, image) for image in images])


class Endless(Dataset):
    """A dataset as many are: an index beyond its end wraps, and nothing says stop."""

    def __init__(self, images, labels=LABELS):
        self.images, self.labels, self.read = images, labels, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index)
        return self.images[index % len(self)], self.labels[index % len(self)]


def test_the_mean_is_that_of_the_single_maps(net, images, maps):
    dataset = Endless(images)
    found = average_over_dataset(sensitivity_analysis, net, dataset)
    assert dataset.read == [0, 1, 2, 3, 4]
    assert found.shape == SHAPES[2]
    assert found.dtype == np.float64
    assert np.allclose(found, maps.mean(axis=0), rtol=1e-12, atol=0)
    for other in (images, iter(images), torch.stack(images), TensorDataset(torch.stack(images))):
        assert np.array_equal(average_over_dataset(sensitivity_analysis, net, other), found)


def test_a_mean_for_each_label(net, images, maps):
    found = average_over_dataset(sensitivity_analysis, net, Endless(images), by_label=True)
    assert list(found) == [0, 1, 2]
    for label, heatmap in found.items():
        wanted = maps[[one == label for one in LABELS]].mean(axis=0)
        assert np.allclose(heatmap, wanted, rtol=1e-12, atol=0)
    words = Endless(images, ["CN", "AD", "MCI", "AD", "CN"])
    named = average_over_dataset(sensitivity_analysis, net, words, by_label=True)
    assert list(named) == ["AD", "CN", "MCI"]
    assert np.array_equal(named["AD"], found[2])


def test_only_images_of_some_labels(net, images, maps):
    found = average_over_dataset(sensitivity_analysis, net, Endless(images), labels=2)
    assert np.allclose(found, maps[[1, 3]].mean(axis=0), rtol=1e-12, atol=0)
    found = average_over_dataset(sensitivity_analysis, net, Endless(images), labels=[0, 1], by_label=True)
    assert list(found) == [0, 1]
    with pytest.raises(InputError, match=r"no image with the labels \[7\]"):
        average_over_dataset(sensitivity_analysis, net, Endless(images), labels=7)


def test_the_class_and_the_methods_options_are_passed_on(net, images):
    options = {"size": 6, "stride": 4, "apply_softmax": False}
    found = average_over_dataset(occlusion, net, images, target_class=1, **options)
    wanted = np.mean([occlusion(net, image, target_class=1, **options) for image in images], axis=0)
    assert np.allclose(found, wanted, rtol=1e-12, atol=0)
    found = average_over_dataset(occlusion, net, Endless(images), target_class="label", **options)
    each = [occlusion(net, image, target_class=label, **options) for image, label in zip(images, LABELS, strict=True)]
    assert np.allclose(found, np.mean(each, axis=0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_of_a_loader_count_image_by_image(net, images, batch_size):
    pairs = TensorDataset(torch.stack(images), torch.tensor(LABELS))
    loader = DataLoader(pairs, batch_size=batch_size)
    for options in ({}, {"labels": [2]}, {"target_class": "label"}, {"by_label": True}):
        wanted = average_over_dataset(sensitivity_analysis, net, pairs, **options)
        found = average_over_dataset(sensitivity_analysis, net, loader, **options)
        if options.get("by_label"):
            assert list(found) == list(wanted) == [0, 1, 2]
            found, wanted = np.stack(list(found.values())), np.stack(list(wanted.values()))
        assert np.allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_sample_is_drawn_by_its_seed(net, images, maps):
    def drawn(seed):
        dataset = Endless(images)
        return average_over_dataset(sensitivity_analysis, net, dataset, 3, seed), dataset.read

    found, read = drawn(1)
    assert len(set(read)) == 3
    assert np.allclose(found, maps[read].mean(axis=0), rtol=1e-12, atol=0)
    assert np.array_equal(drawn(1)[0], found)
    assert len({tuple(sorted(drawn(seed)[1])) for seed in range(20)}) > 1
    with pytest.raises(ConfigError, match=r"num_samples[\s\S]*1 to 5"):
        average_over_dataset(sensitivity_analysis, net, Endless(images), num_samples=6)
    with pytest.raises(ConfigError, match="a length and an index"):
        average_over_dataset(sensitivity_analysis, net, iter(images), num_samples=2)


def test_progress_is_shown_where_asked_for(net, images, capsys):
    average_over_dataset(sensitivity_analysis, net, images, show_progress=True)
    assert "images:   0%|          | 0/5" in capsys.readouterr().err
    average_over_dataset(sensitivity_analysis, net, images)
    average_over_dataset(sensitivity_analysis, net, images, show_progress=False)
    assert capsys.readouterr().err == ""


def test_datasets_that_cannot_be_averaged_say_so(net, images):
    with pytest.raises(InputError, match=r"no image to average over[\s\S]*empty"):
        average_over_dataset(sensitivity_analysis, net, [])
    with pytest.raises(InputError, match="item 0 of the dataset has no label"):
        average_over_dataset(sensitivity_analysis, net, images, by_label=True)
    with pytest.raises(InputError, match=r"item 0 of the dataset[\s\S]*3 things"):
        average_over_dataset(sensitivity_analysis, net, [(images[0], 1, "path")])
    with pytest.raises(InputError, match="a label must be one number or word"):
        average_over_dataset(sensitivity_analysis, net, [(images[0], torch.zeros(3))], by_label=True)
    convolution = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(ShapeError, match=r"image 1 has shape \(9, 9\), those before it \(9, 8\)"):
        average_over_dataset(sensitivity_analysis, convolution.eval(), [np.ones((9, 8)), np.ones((9, 9))])


def test_the_distance_is_that_of_the_studies(rng):
    mask = rng.uniform(size=(5, 6, 7)) > 0.3
    maps = {"one": {"AD": rng.normal(size=mask.shape), "CN": rng.uniform(size=mask.shape)}}
    enrichment = {"one": {"AD": [1.0, 2, 3], "CN": [1.0, 3, 2]}}
    table = compare_maps(maps, mask, enrichment, classes={"positive": "AD", "negative": "CN"}).set_index("scaling")
    found = heatmap_distance(maps["one"]["AD"][mask], maps["one"]["CN"][mask])
    assert found == pytest.approx(table.loc["scaled", "distance"], rel=1e-12)
    assert found > 0.01


def test_the_distance_by_hand():
    one, other = np.array([[1.0, 3.0]]), np.array([[2.0, 2.0]])
    assert heatmap_distance(one, other) == pytest.approx(np.sqrt(2) / 4)
    assert heatmap_distance(one, 10 * one) == pytest.approx(0, abs=1e-15)
    assert heatmap_distance(other, one) == heatmap_distance(one, other)
    assert heatmap_distance([1, 0], [-1, 0]) == 2
    assert isinstance(heatmap_distance(one, other), float)
    tensor, image = torch.tensor(one, requires_grad=True), nib.Nifti1Image(other[None], np.eye(4))
    assert heatmap_distance(tensor[None], image) == heatmap_distance(one, other)
    assert heatmap_distance(np.uint8([[200, 100]]), np.uint8([[100, 200]])) == pytest.approx(np.sqrt(2) / 3)


def test_heatmaps_that_have_no_distance_say_so():
    with pytest.raises(ShapeError, match=r"heatmap a has shape \(2, 3\), heatmap b \(3, 2\)"):
        heatmap_distance(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ShapeError, match="heatmap b contains 1 NaN or infinite values"):
        heatmap_distance(np.ones(2), np.array([1, np.nan]))
    with pytest.raises(InputError, match="heatmap a is 0 everywhere"):
        heatmap_distance(np.zeros(2), np.ones(2))
