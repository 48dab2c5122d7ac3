"""Networks from files in incremental occlusion: followed where their operators are known, else refused by a reason."""

import numpy as np
import pytest
import torch

from helpers.exported_files import export
from helpers.heatmap_cases import network, picture
from helpers.onnx_models import KINDS, channels_last, images
from voxelwhy.explain.incremental.engine import Incremental
from voxelwhy.explain.incremental.graph import NotExportable
from voxelwhy.networks.files.exported import load_exported
from voxelwhy.networks.files.onnx_import import load_onnx

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def assert_followed(model, image):
    """The logits with a corner, a middle and an end blanked, as by a forward pass of each; and something was saved."""
    axes = image.ndim - 2
    lo = np.array([[0] * axes, [2] * axes, [n - 4 for n in image.shape[2:]]])
    net = Incremental(model, image)
    found = net(lo, lo + 4, [None] * 3, 0.0)
    for number, start in enumerate(lo):
        blanked = image.clone()
        blanked[(..., *(slice(n, n + 4) for n in start))] = 0
        with torch.no_grad():
            expected = model(blanked)[0]
        assert (expected - net.whole[0]).abs().max() > 1e-4
        torch.testing.assert_close(found[number], expected, atol=1e-5, rtol=0)
    assert net.multiply_adds < net.full_multiply_adds


@pytest.mark.parametrize(("axes", "moves"), [(2, "once"), (3, "all"), (3, "once")])
def test_an_onnx_network_with_channels_last_is_followed(tmp_path, axes, moves):
    last, _ = channels_last(tmp_path, axes=axes, channels=2, moves=moves)
    assert_followed(load_onnx(last), torch.from_numpy(images(2, *KINDS[axes]))[:1])


@pytest.mark.parametrize("axes", [2, 3])
def test_a_program_for_any_number_of_images_is_followed(axes):
    assert_followed(load_exported(export(network(axes), axes, "free")), picture(axes)[None])


def test_what_cannot_be_followed_is_said():
    with pytest.raises(NotExportable, match=r"torch.export cannot follow it"):
        Incremental(load_exported(export(network(2), 2, "one")), picture(2)[None])
    with pytest.raises(NotExportable, match="TorchScript"):
        Incremental(torch.jit.trace(network(2), picture(2)[None]), picture(2)[None])
