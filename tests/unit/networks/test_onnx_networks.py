"""Networks from ONNX files as a whole: channels last, probabilities at the end, heatmaps, and random small graphs."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.examples import examples
from helpers.onnx_models import KINDS, Maker, assert_same, channels_last, images, run
from voxelwhy.errors import ConfigError
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.networks.files.load_network import load_network
from voxelwhy.networks.files.onnx_import import load_onnx

# ------------------------------------------------------------------ channels last


@pytest.mark.parametrize(
    ("axes", "channels", "moves"), [(2, 3, "once"), (3, 2, "all"), (3, 1, "reshape"), (2, 1, "reshape"), (3, 1, "all")]
)
def test_a_network_with_channels_last_is_that_with_channels_first(tmp_path, caplog, axes, channels, moves):
    last, first = channels_last(tmp_path, axes=axes, channels=channels, moves=moves)
    batch = images(*KINDS[axes], channels)
    with caplog.at_level(logging.INFO):
        model = assert_same(last, batch, channels="last")
    assert "channels last" in caplog.text
    moved = torch.from_numpy(np.moveaxis(batch, -1, 1))
    auto, plain = load_onnx(last, logits=False), load_onnx(first, logits=False)
    assert torch.equal(auto(moved), model(moved))
    np.testing.assert_allclose(auto(moved).detach(), plain(moved).detach(), atol=1e-6)
    turns = [node for node in auto.graph.nodes if node.target is torch.permute]
    assert len(turns) == 1  # before the dense layer, where the weights lie that way; all others are taken out
    assert [node.target for node in plain.graph.nodes].count(torch.permute) == 0


def test_the_channels_can_be_named_and_only_rightly(tmp_path):
    last, _ = channels_last(tmp_path, axes=2, channels=3, moves="once")
    with pytest.raises(ConfigError, match=r"first or last(.|\n)*'middle'(.|\n)*auto, first, last"):
        load_onnx(last, channels="middle")
    batch = torch.from_numpy(images(*KINDS[2], 3))
    as_it_is = load_onnx(last, logits=False, channels="first")
    np.testing.assert_allclose(as_it_is(batch).detach(), run(last, batch.numpy()), atol=1e-5)


# ------------------------------------------------------------------ probabilities at the end


@pytest.mark.parametrize(
    ("end", "outputs", "left_out"), [("Softmax", 3, True), ("Sigmoid", 1, True), ("Sigmoid", 3, False)]
)
def test_what_makes_probabilities_of_logits_is_left_out(tmp_path, caplog, end, outputs, left_out):
    net = Maker(("n", 1, 6, 6))
    net.conv(1, outputs, [6, 6])
    net.add("Flatten")
    net.add(end)
    net.add("Identity")
    path, batch = net.save(tmp_path / "net.onnx"), images(1, 6, 6)
    with caplog.at_level(logging.INFO):
        logits = load_onnx(path)(torch.from_numpy(batch)).detach()
    assert (f"removed the final {end}" in caplog.text) == left_out
    assert ("apply_softmax=False" in caplog.text) != left_out
    found = logits if not left_out else logits.softmax(1) if end == "Softmax" else logits.sigmoid()
    np.testing.assert_allclose(found, run(path, batch), atol=1e-6)
    assert (abs(logits).max() > 1) == left_out
    as_it_is = load_onnx(path, logits=False)(torch.from_numpy(batch)).detach()
    np.testing.assert_allclose(as_it_is, run(path, batch), atol=1e-6)


# ------------------------------------------------------------------ explained


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (sensitivity_analysis, {}),
        (guided_backprop, {}),
        (grad_cam, {}),
        (occlusion, {"size": 4, "stride": 3}),
    ],
)
def test_a_network_with_channels_last_is_explained_as_that_with_channels_first(tmp_path, method, options):
    last, first = channels_last(tmp_path, axes=3, channels=2, moves="all")
    image = images(2, *KINDS[3])[0]
    expected = method(load_network(first), image, 1, **options)
    found = method(load_network(last), image, 1, **options)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    there = method(load_network(last), np.moveaxis(image, 0, -1), 1, **options)  # the image as Keras had it
    np.testing.assert_array_equal(there, found)


# ------------------------------------------------------------------ any small network

STEPS = ("conv", "batch_norm", "relu", "pool", "mean_pool", "residual", "concat", "turn", "scale", "gate", "identity")


@st.composite
def networks(draw):
    """A random small graph in 2D or 3D, as exporters could have written it."""
    axes = draw(st.sampled_from([2, 3]))
    shape, channels = draw(st.lists(st.integers(5, 9), min_size=axes, max_size=axes)), draw(st.integers(1, 3))
    net = Maker((draw(st.sampled_from([1, "n"])), channels, *shape), seed=draw(st.integers(0, 99)))
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=7)):
        before = net.last
        if step == "conv":
            out, kernel = draw(st.integers(1, 4)), draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes))
            strides = draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))
            upper = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
            net.conv(channels, out, kernel, strides=strides, auto_pad=upper)
            channels, shape = out, [-(-n // s) for n, s in zip(shape, strides, strict=True)]
        elif step == "batch_norm":
            net.batch_norm(channels)
        elif step == "relu":
            net.add(draw(st.sampled_from(["Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh"])))
        elif step in ("pool", "mean_pool"):
            kind = "MaxPool" if step == "pool" else "AveragePool"
            net.add(kind, kernel_shape=[2] * axes, strides=[2] * axes, auto_pad="SAME_UPPER")
            shape = [-(-n // 2) for n in shape]
        elif step == "residual":
            net.conv(channels, channels, [3] * axes, pads=[1] * 2 * axes)
            net.add("Add", before, "")
        elif step == "concat":
            net.conv(channels, 2, [1] * axes)
            net.add("Concat", before, "", axis=1)
            channels += 2
        elif step == "turn":
            net.add("Transpose", perm=[0, *range(2, axes + 2), 1])
            net.add("Mul", "", net.random(channels))
            net.add("Transpose", perm=[0, axes + 1, *range(1, axes + 1)])
        elif step == "scale":
            net.add("Add", "", net.random(channels, *[1] * axes))
        elif step == "gate":
            net.add("GlobalAveragePool")
            net.add("Sigmoid")
            net.add("Mul", before, "")
        else:
            net.add("Identity")
    net.add("Flatten")
    net.add("MatMul", "", net.random(channels * int(np.prod(shape)), 2, scale=0.3))
    net.add("Add", "", net.random(2))
    return net


@pytest.mark.random
@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(net=networks())
def test_any_small_network_gives_what_onnxruntime_gives(tmp_path_factory, net):
    path = net.save(tmp_path_factory.mktemp("any") / "net.onnx")
    batch = images(*net.shape[1:])
    found = load_onnx(path)(torch.from_numpy(batch)).detach().numpy()
    expected = run(path, batch)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
