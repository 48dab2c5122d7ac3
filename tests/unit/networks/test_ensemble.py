"""An ensemble predicts the mean of its members' probabilities, is stored with them, and explained by their mean map."""

import numpy as np
import pytest
import torch
from torch import nn

import voxelwhy
from voxelwhy.errors import ModelError
from voxelwhy.networks.build import build_network
from voxelwhy.networks.ensemble import Ensemble, members_of, one_model
from voxelwhy.networks.weights import hash_weights, load_model, save_model

SHAPE = (16, 17, 18)


def networks(n):
    torch.manual_seed(7)
    return [build_network("compact", SHAPE, first_pool=2).eval() for _ in range(n)]


@pytest.fixture
def images():
    return torch.randn(4, 1, *SHAPE, generator=torch.Generator().manual_seed(3))


def test_probabilities_are_the_means_of_those_of_the_members(images):
    members = networks(3)
    with torch.inference_mode():
        wanted = np.mean([m(images).double().softmax(1).numpy() for m in members], axis=0)
        logits = Ensemble(members)(images)
    assert np.ptp([m(images).detach().numpy() for m in members], axis=0).max() > 0.01
    np.testing.assert_allclose(logits.softmax(1).numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(logits.exp().numpy(), wanted, atol=1e-6)


def test_members_with_one_logit_count_by_their_sigmoid(images):
    members = [nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 1)) for _ in range(2)]
    with torch.inference_mode():
        wanted = np.mean([torch.sigmoid(m(images)).numpy()[:, 0] for m in members], axis=0)
        found = Ensemble(members)(images).softmax(1).numpy()[:, 1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_gradient_of_its_probability_is_the_mean_of_those_of_its_members(images):
    """So the mean of the members' maps, which a study shows, is the map of the ensemble."""
    members = networks(2)
    maps = [_gradient(member, images[:1]) for member in members]
    assert np.abs(maps[0] - maps[1]).max() > 1e-4
    np.testing.assert_allclose(_gradient(Ensemble(members), images[:1]), np.mean(maps, axis=0), atol=1e-7)


def _gradient(model, image):
    image = image.clone().requires_grad_()
    model(image).softmax(1)[0, 1].backward()
    return image.grad.numpy()


@pytest.mark.parametrize("method", ["grad_cam", "occlusion", "lrp"])
def test_a_method_refuses_it_and_says_what_to_do(images, method):
    with pytest.raises(ModelError, match=r"ensemble of 2 networks: explain each of `model.members`"):
        getattr(voxelwhy, method)(Ensemble(networks(2)).eval(), images[0].numpy(), target_class=1)


def test_one_network_stays_itself():
    (network,) = networks(1)
    assert one_model([network]) is network
    assert members_of(network) == [network]
    assert members_of(one_model(networks(2))) != []


def test_it_is_read_as_it_was_stored(tmp_path, images):
    model = one_model(networks(3)).eval()
    card = {"network": "compact", "options": {"first_pool": 2}, "spatial_shape": list(SHAPE), "seeds": 3}
    save_model(tmp_path / "model.pt", model, card)
    again, _ = load_model(tmp_path / "model.pt")
    assert len(members_of(again)) == 3 and hash_weights(again) == hash_weights(model)
    with torch.inference_mode():
        assert torch.equal(again(images), model(images))
