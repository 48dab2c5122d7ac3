"""Networks from ONNX files against onnxruntime, in 2D and 3D; what cannot be converted is refused by name."""

import sys
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from helpers.onnx_models import KINDS, Maker, assert_same, images, run
from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.files.onnx_import import load_onnx


def classifier(axes, *, shape=None, dtype=np.float32):
    """A small network as exporters write it: two convolutions, a normalisation, a pool, dense layers, Softmax."""
    spatial = KINDS[axes]
    net = Maker(shape or ("n", 2, *spatial), dtype=dtype)
    net.conv(2, 4, [3] * axes, pads=[1] * 2 * axes)
    net.batch_norm(4)
    net.add("Relu")
    net.add("MaxPool", kernel_shape=[2] * axes, strides=[2] * axes)
    net.conv(4, 6, [2] * axes)
    net.add("LeakyRelu", alpha=0.2)
    net.add("Flatten")
    features = 6 * np.prod([n // 2 - 1 for n in spatial])
    net.add("Gemm", "", net.random(3, features, scale=0.3), net.random(3), transB=1)
    net.add("Softmax", axis=1)
    return net


def normalised(axes, norm, *, opset):
    """A network as nnU-Net's: convolution, a normalisation by the image's own statistics, LeakyReLU."""
    spatial = KINDS[axes]
    net = Maker(("n", 2, *spatial))
    net.conv(2, 6, [3] * axes, pads=[1] * 2 * axes)
    if norm == "instance":
        net.add("InstanceNormalization", "", net.random(6), net.random(6), epsilon=1e-3)
    elif norm == "group":
        n = 6 if opset >= 21 else 3  # scale and shift by channel or by group
        net.add("GroupNormalization", "", net.random(n), net.random(n), num_groups=3, epsilon=1e-3)
    else:  # a GroupNorm as torch.onnx writes it for older opsets
        before = net.last
        net.add("Reshape", "", net.constant(np.array([0, 3, -1])))
        net.add(
            "InstanceNormalization", "", net.constant(np.ones(3, np.float32)), net.constant(np.zeros(3, np.float32))
        )
        net.add("Reshape", "", net.constant(np.array([0, 6, *spatial])))
        net.add("Mul", "", net.random(6, *[1] * axes))
        net.add("Add", "", net.random(6, *[1] * axes))
        assert before != net.last
    net.add("LeakyRelu", alpha=0.01)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Gemm", "", net.random(2, 6), net.random(2), transB=1)
    return net


# ------------------------------------------------------------------ whole networks


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("norm", "opset"), [("instance", 17), ("group", 18), ("group", 21), ("written out", 17)])
def test_normalisation_by_the_statistics_of_the_image(tmp_path, axes, norm, opset):
    model = assert_same(normalised(axes, norm, opset=opset).save(tmp_path / "net.onnx", opset), images(2, *KINDS[axes]))
    kinds = [type(module).__name__ for module in model.children()]
    assert any(kind.startswith(("InstanceNorm", "GroupNorm")) for kind in kinds)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_small_network_gives_what_onnxruntime_gives(tmp_path, axes):
    model = assert_same(classifier(axes).save(tmp_path / "net.onnx"), images(2, *KINDS[axes]))
    kinds = [type(module) for module in model.children()]
    assert kinds.count({2: nn.Conv2d, 3: nn.Conv3d}[axes]) == 2
    assert nn.ReLU in kinds and nn.Linear in kinds
    assert model.conv_0.weight.shape == (4, 2, *[3] * axes)


def test_a_file_for_one_image_takes_any_number(tmp_path):
    path = classifier(3, shape=(1, 2, *KINDS[3])).save(tmp_path / "net.onnx")
    assert_same(path, images(2, *KINDS[3]))


def test_float64_stays_float64(tmp_path):
    path = classifier(2, dtype=np.float64).save(tmp_path / "net.onnx")
    batch = images(2, *KINDS[2]).astype(np.float64)
    found = load_onnx(path, logits=False)(torch.from_numpy(batch)).detach()
    (expected,) = ReferenceEvaluator(path).run(None, {"image": batch})  # onnxruntime has no such convolution
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, atol=1e-13)


class Residual(nn.Module):
    """What many networks are made of: a sum with a shortcut, a concatenation, a gate of the channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(6), nn.ReLU())
        self.depthwise = nn.Conv3d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.short = nn.Conv3d(6, 6, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Conv3d(12, 12, 1), nn.Sigmoid())
        self.head = nn.Linear(12, 2)

    def forward(self, image):
        image = self.stem(image)
        image = nn.functional.relu6(self.depthwise(image)) + self.short(image)
        image = torch.cat([image, nn.functional.elu(image)], dim=1)
        image = nn.functional.avg_pool3d(image * self.gate(image), 3, stride=2, padding=1)
        return self.head(image.mean((2, 3, 4)))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_network_that_pytorch_exported(tmp_path, opset):
    torch.manual_seed(3)
    net = Residual().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    path, batch = tmp_path / "net.onnx", images(1, 11, 12, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter, which needs no other package, is on its way out
        torch.onnx.export(
            net, (torch.zeros(1, 1, 11, 12, 9),), path, dynamo=False, opset_version=opset, input_names=["image"],
            dynamic_axes={"image": {0: "n"}},
        )  # fmt: skip
    model = assert_same(path, batch)
    np.testing.assert_allclose(
        model(torch.from_numpy(batch)).detach(), net(torch.from_numpy(batch)).detach(), atol=1e-5
    )
    assert any(isinstance(module, nn.ReLU6) for module in model.modules())  # guided backpropagation knows what it is


# ------------------------------------------------------------------ one operator after another

WINDOWS = {
    "pads": {"kernel": 3, "pads": [1, 1]},
    "asymmetric": {"kernel": 3, "pads": [0, 2]},
    "same upper": {"kernel": 3, "strides": 2, "auto_pad": "SAME_UPPER"},
    "same upper, even": {"kernel": 2, "auto_pad": "SAME_UPPER"},
    "same lower": {"kernel": 4, "strides": 3, "auto_pad": "SAME_LOWER"},
    "valid": {"kernel": 3, "strides": 2, "auto_pad": "VALID"},
}


def window(axes, how):
    options = {"kernel_shape": [how["kernel"]] * axes, "strides": [how.get("strides", 1)] * axes}
    if "pads" in how:
        options["pads"] = [how["pads"][0]] * axes + [how["pads"][1]] * axes
    return options | {key: how[key] for key in ("auto_pad",) if key in how}


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("how", WINDOWS)
@pytest.mark.parametrize("kind", ["Conv", "MaxPool", "AveragePool", "AveragePool, all"])
def test_windows_lie_where_they_should(tmp_path, kind, how, axes):
    net, options = Maker(("n", 2, *KINDS[axes])), window(axes, WINDOWS[how])
    kind, _, whole = kind.partition(", ")
    if kind == "Conv":
        kernel = options.pop("kernel_shape")
        net.conv(2, 3, kernel, **options)
    else:
        net.add(kind, **options, **({"count_include_pad": 1} if whole else {}))
    assert_same(net.save(tmp_path / "net.onnx", opset=19), images(2, *KINDS[axes]))


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1)])
def test_a_pool_that_reaches_over_the_end(tmp_path, kind, kernel, stride, pad):
    net = Maker(("n", 2, 9, 10, 11))
    net.add(kind, kernel_shape=[kernel] * 3, strides=[stride] * 3, pads=[pad] * 6, ceil_mode=1)
    assert_same(net.save(tmp_path / "net.onnx", opset=19), images(2, 9, 10, 11))


def test_convolutions_with_groups_and_dilation(tmp_path):
    net = Maker(("n", 4, 9, 8, 11))
    net.conv(4, 6, [3, 2, 3], group=2, dilations=[2, 1, 3], strides=[1, 2, 1], pads=[2, 0, 3, 2, 1, 3])
    model = assert_same(net.save(tmp_path / "net.onnx"), images(4, 9, 8, 11))
    assert {module.in_channels for module in model.modules() if isinstance(module, nn.Conv3d)} == {4}


ONE = {
    "relu": lambda net: net.add("Relu"),
    "leaky": lambda net: net.add("LeakyRelu", alpha=0.3),
    "elu": lambda net: net.add("Elu", alpha=0.7),
    "sigmoid": lambda net: net.add("Sigmoid"),
    "tanh": lambda net: net.add("Tanh"),
    "relu6": lambda net: net.add("Clip", "", net.constant(np.float32(0)), net.constant(np.float32(6))),
    "clip": lambda net: net.add("Clip", "", net.constant(np.float32(-0.4)), net.constant(np.float32(0.5))),
    "clip below": lambda net: net.add("Clip", "", net.constant(np.float32(-0.4))),
    "clip at zero": lambda net: net.add("Clip", "", net.constant(np.float32(0))),
    "softmax": lambda net: net.add("Softmax", axis=1),
    "softmax last": lambda net: net.add("Softmax"),
    "batch norm": lambda net: net.batch_norm(2),
    "global mean": lambda net: net.add("GlobalAveragePool"),
    "global max": lambda net: net.add("GlobalMaxPool"),
    "mean kept": lambda net: net.add("ReduceMean", axes=[2, -1]),
    "mean": lambda net: net.add("ReduceMean", axes=[2, 3, 4], keepdims=0),
    "identity": lambda net: (net.add("Identity"), net.add("Dropout")),
    "pad": lambda net: net.add("Pad", "", net.constant([0, 0, 1, 0, 2, 0, 0, 0, 3, 1]), net.constant(np.float32(0.5))),
    "scalar": lambda net: (net.add("Mul", "", net.random()), net.add("Sub", net.random(1), "")),
    "channel": lambda net: (net.add("Add", "", net.random(2, 1, 1, 1)), net.add("Div", "", net.random(1, 2, 1, 1, 1))),
    "voxel": lambda net: net.add("Mul", net.random(5, 6, 7), ""),
    "square": lambda net: net.add("Mul", "", ""),
    "dense": lambda net: (net.add("MatMul", "", net.random(7, 3)), net.add("Add", "", net.random(3))),
    "attention": lambda net: net.add("MatMul", "image", net.add("Transpose", perm=[0, 1, 2, 4, 3])),
    "concatenation": lambda net: net.add("Concat", "image", net.add("Relu"), axis=-4),
    "turned concatenation": lambda net: net.add("Concat", *[net.add("Transpose", perm=[0, 4, 3, 2, 1])] * 2, axis=1),
    "flatten": lambda net: net.add("Flatten"),
    "axes of one": lambda net: (
        net.add("GlobalMaxPool"),
        net.add("Squeeze", "", net.constant([2, 3, -1])),
        net.add("Unsqueeze", "", net.constant([1, -1])),
    ),
    "axis of one": lambda net: (net.add("GlobalMaxPool"), net.add("Squeeze", "", net.constant([2, 4]))),
    "reshape": lambda net: net.add("Reshape", "", net.constant([0, 6, -1, 5])),
    "reshape, batch left": lambda net: net.add("Reshape", "", net.constant([-1, 420])),
    "turned flatten": lambda net: (net.add("Transpose", perm=[0, 2, 3, 4, 1]), net.add("Relu"), net.add("Flatten")),
    "gemm": lambda net: (
        net.add("Flatten"),
        net.add("Gemm", "", net.random(420, 3), net.random(1, 3), alpha=0.2, beta=2.0),
    ),
}


@pytest.mark.parametrize("which", ONE)
def test_each_operator_gives_what_onnxruntime_gives(tmp_path, which):
    net = Maker(("n", 2, 5, 6, 7))
    ONE[which](net)
    assert_same(net.save(tmp_path / "net.onnx"), images(2, 5, 6, 7))


def test_values_whose_axes_lie_differently_meet_in_their_places(tmp_path):
    net = Maker(("n", 4, 4, 4, 4))
    turned = net.add("Transpose", perm=[0, 4, 3, 2, 1])
    net.add("Add", turned, net.add("Transpose", "image", perm=[0, 3, 2, 1, 4]))
    net.add("Concat", "", turned, axis=2)
    assert_same(net.save(tmp_path / "net.onnx"), images(4, 4, 4, 4))


def test_relu6_is_known_for_what_it_is(tmp_path):
    net = Maker(("n", 1, 6, 6))
    net.conv(1, 2, [3, 3])
    ONE["relu6"](net)
    net.add("Flatten")
    model = load_onnx(net.save(tmp_path / "net.onnx"))
    assert [type(module) for module in model.children()] == [nn.Conv2d, nn.ReLU6, nn.Flatten]


# ------------------------------------------------------------------ what cannot be used


def refused(tmp_path, make, match, *, error=ModelError, opset=17, shape=("n", 2, 5, 6, 7)):
    net = Maker(shape)
    make(net)
    with pytest.raises(error, match=match):
        load_onnx(net.save(tmp_path / "net.onnx", opset=opset), logits=False)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda net: (net.add("Erf"), net.add("Cos"), net.add("Relu")),
            r"net.onnx uses unsupported operators: Erf \(node erf_0\), Cos \(node cos_1\). Supported are Add,",
        ),
        (lambda net: net.add("Odd", domain="com.example"), r"com.example::Odd \(node odd_0\)"),
        (lambda net: net.add("Transpose", perm=[1, 0, 2, 3, 4]), r"Transpose \(node transpose_0\) moves the axis of"),
        (lambda net: net.add("Flatten", axis=2), "does not flatten exactly the axes after"),
        (lambda net: net.add("Softmax", axis=0), "normalises over axis 0"),
        (lambda net: net.add("ReduceMean"), "works along the images of a batch"),
        (lambda net: net.add("Concat", "", "", axis=0), "works along the images of a batch"),
        (lambda net: net.add("Reshape", "", net.constant([-1, 2])), "does not keep the axis of the images"),
        (lambda net: net.add("Reshape", "", net.constant([-1, 840])), "does not keep the axis of the images"),
        (lambda net: net.add("Unsqueeze", "", net.constant([0])), "inserts an axis before that of the images"),
        (lambda net: net.add("Conv", "", net.add("Relu")), "computes its weights; only a constant"),
        (lambda net: net.add("MaxPool", kernel_shape=[2] * 3, outputs=2), "the positions of its maxima"),
        (
            lambda net: net.add("MaxPool", kernel_shape=[3] * 3, strides=[2] * 3, pads=[0, 0, 0, 1, 1, 1], ceil_mode=1),
            "ceil_mode and asymmetric padding",
        ),
        (lambda net: net.add("Add", "", net.random(2, 2, 1, 1, 1)), "differs between the images of a batch"),
        (lambda net: net.add("MatMul", net.random(6, 6), ""), "has the constant as its first operand"),
        (lambda net: net.add("Pad", "", net.constant([0, 0, 1, 1, 1] * 2), mode="reflect"), "pads in mode reflect"),
        (lambda net: net.add("Dropout", "", net.constant(np.float32(0.5)), net.constant(True)), "is in training mode"),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_node(tmp_path, make, match):
    refused(tmp_path, make, match)


def test_a_padding_that_depends_on_an_open_size_is_refused(tmp_path):
    options = {"strides": [2, 2], "auto_pad": "SAME_UPPER"}
    refused(tmp_path, lambda net: net.conv(2, 3, [3, 3], **options), "images of a fixed size", shape=("n", 2, "h", "w"))
    net = Maker(("n", 2, "h", "w"))
    net.conv(2, 3, [3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.add("GlobalAveragePool")
    net.add("Flatten")
    path = net.save(tmp_path / "open.onnx")
    for shape in ((2, 7, 9), (2, 12, 5)):
        np.testing.assert_allclose(
            load_onnx(path)(torch.from_numpy(images(*shape))).detach(), run(path, images(*shape)), atol=1e-5
        )


def test_a_softmax_of_old_that_goes_over_several_axes_is_refused(tmp_path):
    refused(tmp_path, lambda net: net.add("Softmax", axis=1), "normalises over axis 1 and more", opset=11)


@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04", bytes(range(256))])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"net\.onnx is not an ONNX file"):
        load_onnx(path)


def test_a_missing_file_and_missing_weights_are_said(tmp_path):
    with pytest.raises(InputError, match="no such model file"):
        load_onnx(tmp_path / "none.onnx")
    path = tmp_path / "net.onnx"
    onnx.save(classifier(3).model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert_same(path, images(2, *KINDS[3]))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"keeps its weights in another file(.|\n)*weights.bin(.|\n)*next to it"):
        load_onnx(path)


def test_several_inputs_or_outputs_are_refused(tmp_path):
    net = Maker(("n", 1, 6, 6))
    net.add("Relu")
    for what in ("input", "output"):
        model = net.model()
        getattr(model.graph, what).append(getattr(model.graph, what)[0])
        getattr(model.graph, what)[1].name = "second"
        onnx.save(model, tmp_path / "net.onnx")
        with pytest.raises(ModelError, match=rf"has 2 {what}s \(\w+, second\)(.|\n)*extract_model"):
            load_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("shape", "dtype", "match"), [(("n", 5), np.float32, "FLOAT with 2 axes"), (("n", 1, 5, 5), np.uint8, "UINT8")]
)
def test_an_input_that_is_no_image_is_refused(tmp_path, shape, dtype, match):
    net = Maker(shape, dtype=dtype)
    net.add("Identity")
    with pytest.raises(ModelError, match=f"takes image of type {match}(.|\n)*real numbers"):
        load_onnx(net.save(tmp_path / "net.onnx"))


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'voxelwhy\[onnx\]'"):
        load_onnx(tmp_path / "net.onnx")


def test_loading_uses_up_no_random_numbers(tmp_path):
    path = classifier(3).save(tmp_path / "net.onnx")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_onnx(path)
    assert torch.equal(torch.rand(1), expected)
