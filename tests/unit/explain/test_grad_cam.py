"""Grad-CAM where others are silently wrong; each case beside the naive way, which fails on it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from torch import nn
from torch.utils.checkpoint import checkpoint

from helpers.heatmap_cases import assert_same, network, picture
from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.networks.build import build_network

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def naive_grad_cam(net, image, target, layer=None, axes=None, relu=True):
    """With a hook on the last convolution among the modules; `axes` over which the gradient is averaged."""
    layer = layer or [module for module in net.modules() if isinstance(module, CONVOLUTIONS)][-1]
    kept = {}
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.update(cells=output) or output.clone())
    try:
        score = net(image[None])[0, target]
    finally:
        handle.remove()
    cells = kept["cells"]
    gradient = torch.autograd.grad(score, cells)[0]
    weights = gradient.mean(dim=axes or tuple(range(2, cells.ndim)), keepdim=True)
    cam = (weights * cells).sum(dim=1)[0].detach().numpy()
    return np.maximum(cam, 0) if relu else cam


def by_definition(cells, score):
    """Mean gradient of each channel over space, weighted sum, positive part; `cells` (1, channels, *cells)."""
    gradient = torch.autograd.grad(score, cells)[0][0].numpy()
    values = cells[0].detach().numpy()
    total = sum(channel.mean() * value for channel, value in zip(gradient, values, strict=True))
    return np.maximum(total, 0)


# ------------------------------------------------------------------ which convolution


class TwoHeads(nn.Module):
    """Three classes from one head, and a second head, for something else, that runs last."""

    def __init__(self, give):
        super().__init__()
        torch.manual_seed(8)
        self.trunk, self.own, self.other = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Conv2d(4, 5, 3)
        self.dense, self.dense_other = nn.Linear(6, 3), nn.Linear(5, 2)
        self.give = give
        self.double().eval()

    def forward(self, image):
        values = torch.relu_(self.trunk(image))
        self.cells = self.own(values)
        self.cells.retain_grad() if self.cells.requires_grad else None
        classes = self.dense(torch.relu(self.cells).mean(dim=(2, 3)))
        other = self.dense_other(torch.relu(self.other(values)).mean(dim=(2, 3)))
        return self.give(classes, other)


HEADS = {
    "the other is left out": lambda classes, other: classes,
    "both are joined": lambda classes, other: torch.cat([classes, other], dim=1),
    "the other is cut off again": lambda classes, other: torch.cat([classes, other], dim=1)[:, :3],
}


@pytest.mark.parametrize("heads", HEADS)
def test_of_several_heads_the_convolution_of_the_explained_one_is_taken(heads):
    net, image = TwoHeads(HEADS[heads]), picture(2)
    score = net(image[None])[0, 1]
    wanted = by_definition(net.cells, score)
    options = {"target_class": 1, "apply_softmax": False, "resize": False}
    assert_same(1e3 * grad_cam(net, image, **options), 1e3 * wanted)
    assert_same(1e3 * grad_cam(net, image, last_conv_layer="own", **options), 1e3 * wanted)
    try:
        naive = naive_grad_cam(net, image, 1)
    except RuntimeError:  # "one of the differentiated tensors appears to not have been used in the graph"
        return
    assert heads != "the other is left out" and not naive.any()


def test_the_other_head_is_explained_by_its_own_convolution():
    net, image = TwoHeads(HEADS["both are joined"]), picture(2)
    options = {"target_class": 4, "apply_softmax": False, "resize": False}
    wanted = naive_grad_cam(net, image, 4)
    assert_same(1e3 * grad_cam(net, image, **options), 1e3 * wanted)
    with pytest.raises(ModelError, match="does not depend"):
        grad_cam(TwoHeads(HEADS["the other is left out"]), image, last_conv_layer="other")


class First(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return self.net(image)[0]


def test_several_outputs_are_refused_and_explained_once_wrapped():
    net, image = TwoHeads(lambda classes, other: (classes, other)), picture(2)
    with pytest.raises(ModelError, match=r"returns a tuple; .* in a torch.nn.Module whose forward returns the one"):
        grad_cam(net, image)
    wanted = grad_cam(TwoHeads(HEADS["the other is left out"]), image)
    assert np.array_equal(grad_cam(First(net).eval(), image), wanted) and wanted.max() > 0


class Functional(nn.Module):
    """As a converter writes it: convolutions are calls, and there is no module to hook."""

    def __init__(self, twin, convolve):
        super().__init__()
        self.weights = nn.ParameterList(parameter for layer in (twin[0], twin[4]) for parameter in layer.parameters())
        self.between, self.after, self.convolve = twin[1:4], twin[5:], convolve
        self.eval()

    def forward(self, image):
        values = self.between(self.convolve(image, self.weights[0], self.weights[1], [0] * (image.ndim - 2)))
        return self.after(self.convolve(values, self.weights[2], self.weights[3], [1] * (image.ndim - 2)))


def by_function(values, weight, bias, padding):
    return (F.conv2d if values.ndim == 4 else F.conv3d)(values, weight, bias, padding=tuple(padding))


def by_operator(values, weight, bias, padding):
    ones = [1] * len(padding)
    return torch.ops.aten.convolution.default(values, weight, bias, ones, padding, ones, False, [0] * len(padding), 1)


def exported(twin, ndim):
    """By torch.export, down to the operators; its modules have no eval()."""
    net = torch.export.export(twin, (picture(ndim)[None],)).run_decompositions().module()
    for module in net.modules():
        module.training = False
    return net


FOREIGN = {
    "F.conv": lambda twin, ndim: Functional(twin, by_function),
    "operator": lambda twin, ndim: Functional(twin, by_operator),
    "exported": exported,
    "compiled": lambda twin, ndim: torch.compile(twin, backend="aot_eager"),
    "checkpoint": lambda twin, ndim: Checkpointed(twin, False),
    "data parallel": lambda twin, ndim: nn.DataParallel(twin).eval(),
}


class Checkpointed(nn.Module):
    """The middle of a network, its last convolution too, is computed again in the backward pass."""

    def __init__(self, twin, use_reentrant):
        super().__init__()
        self.twin, self.use_reentrant = twin, use_reentrant
        self.eval()

    def forward(self, image):
        values = checkpoint(self.twin[1:6], self.twin[:1](image), use_reentrant=self.use_reentrant)
        return self.twin[6:](values)


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export with itself
def test_convolutions_are_found_however_they_are_called(kind, ndim):
    twin, image = network(ndim), picture(ndim)
    net = FOREIGN[kind](twin, ndim)
    with torch.no_grad():
        net(image[None])  # what is compiled lies in its cache now
    for resize in (True, False):
        options = {"target_class": 2, "resize": resize}
        wanted = grad_cam(twin, image, last_conv_layer="4", **options)
        assert_same(1e3 * grad_cam(net, image, **options), 1e3 * wanted)
    if kind in ("F.conv", "operator", "exported"):
        assert not any(isinstance(module, CONVOLUTIONS) for module in net.modules())  # the naive way finds none


def test_what_hides_its_convolutions_is_refused():
    net, image = network(2), picture(2)
    with pytest.raises(ModelError, match="TorchScript"):
        grad_cam(torch.jit.trace(net, image[None]).eval(), image)
    with pytest.raises(ModelError, match=r"cannot be computed: .*use_reentrant"):
        grad_cam(Checkpointed(net, True), image)


class Squeezed(nn.Module):
    """Convolutions on a single cell after the last that has a grid: channel attention, then the classes."""

    def __init__(self, ndim):
        super().__init__()
        torch.manual_seed(6)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        self.first, self.last = conv(1, 4, 3), conv(4, 6, 3, stride=2)
        self.squeeze, self.channels, self.head = conv(6, 6, 1), nn.Conv1d(1, 1, 3, padding=1), conv(6, 3, 1)
        self.double().eval()

    def forward(self, image):
        self.cells = self.last(torch.relu(self.first(image)))
        axes = tuple(range(2, image.ndim))
        attention = torch.sigmoid(self.squeeze(self.cells.mean(dim=axes, keepdim=True))).flatten(1)
        attention = torch.sigmoid(self.channels(attention[:, None]))[:, 0].reshape(1, 6, *[1] * len(axes))
        return self.head((attention * self.cells.relu()).mean(dim=axes, keepdim=True)).flatten(1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_convolutions_on_a_single_cell_or_along_channels_do_not_count(ndim):
    net, image = Squeezed(ndim), picture(ndim)
    score = net(image[None])[0, 1]
    wanted = by_definition(net.cells, score)
    found = grad_cam(net, image, target_class=1, resize=False, apply_softmax=False)
    assert_same(1e3 * found, 1e3 * wanted)
    naive = naive_grad_cam(net, image, 1)
    assert naive.size == 1  # one value for the whole image


def test_a_convolution_that_nothing_gets_through_gives_an_empty_map():
    net, image = network(2), picture(2)
    nn.init.constant_(net[4].bias, -1e3)
    found = grad_cam(net, image, target_class=1)
    assert found.shape == image.shape[1:] and not found.any()


# ------------------------------------------------------------------ the map


def brightness_network(shape):
    """The paper's network with weights that only add up: it sees brightness, whatever the place; class 1 is bright."""
    torch.manual_seed(0)
    net = build_network("rieke2018", shape).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.fill_(1 / parameter[0].numel())
        net.dense_3.weight[0] *= -1
    return net


def blob(shape, place, width=5.0):
    where = np.indices(shape) - np.reshape(place, (3, 1, 1, 1))
    return np.exp(-(where**2).sum(axis=0) / (2 * width**2))


def highest(heatmap):
    """Middle of the voxels that are highest."""
    return np.argwhere(heatmap == heatmap.max()).mean(axis=0)


SHAPE = (98, 90, 94)  # four cells along each axis, at 26.5, 38.5, 50.5, 62.5
ENDS = {"low": (30, 30, 30), "high": (60, 61, 58)}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_blob_off_centre_is_found_within_half_a_cell(axis, end, interpolation):
    net = brightness_network(SHAPE)
    place = [44, 40, 44]
    place[axis] = ENDS[end][axis]
    image = torch.tensor(blob(SHAPE, place)[None], dtype=torch.float32)
    found = grad_cam(net, image, target_class=1, apply_softmax=False, interpolation=interpolation)
    assert found.shape == SHAPE and found.max() > 0
    inner = found[26:64, 26:64, 26:64]  # outside the map is constant
    assert inner.max() == found.max()
    assert np.abs(highest(inner) + 26 - place).max() <= 6  # cells are 12 voxels apart
    cells = naive_grad_cam(net, image, 1)
    naive = zoom(cells, np.divide(SHAPE, cells.shape), order={"linear": 1, "nearest": 0}[interpolation])
    assert np.abs(highest(naive) - place)[axis] > 12  # a plain zoom puts it more than a cell away


def test_values_are_averaged_over_all_three_axes():
    """Two channels that are the image and its negative; a dense layer that wants other cells of each."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Flatten(), nn.Linear(240, 2)).double().eval()
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
        net[0].bias.zero_()
    image = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    found = grad_cam(net, image, target_class=1, apply_softmax=False)
    weights = net[2].weight[1].detach().reshape(2, -1).mean(dim=1)
    wanted = np.maximum(float(weights[0] - weights[1]) * image[0].numpy(), 0)
    assert_same(1e2 * found, 1e2 * wanted)
    for axes in ((0, 2, 3), (0, 3, 4), (2, 3), (3, 4)):  # written for pictures
        assert np.abs(naive_grad_cam(net, image, 1, axes=axes) - wanted).max() > 0.5 * wanted.max()


def test_what_speaks_against_the_class_is_dropped():
    """A bright blob for the class and a brighter dark one against it."""
    net = nn.Sequential(
        nn.Conv3d(1, 1, 3, padding=1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2)
    )
    net.double().eval()
    nn.init.constant_(net[0].weight, 1 / 27)
    nn.init.constant_(net[3].weight, 1.0)
    shape, bright, dark = (24, 20, 22), (6, 6, 6), (17, 14, 16)
    image = torch.tensor((blob(shape, bright, 2) - 3 * blob(shape, dark, 2))[None])
    found = grad_cam(net, image, target_class=1, apply_softmax=False)
    assert np.unravel_index(found.argmax(), shape) == bright
    assert found[dark] == 0 and found.min() == 0
    naive = np.abs(naive_grad_cam(net, image, 1, relu=False))
    assert np.unravel_index(naive.argmax(), shape) == dark


def test_nearest_draws_the_values_of_the_cells():
    net, image = network(3), picture(3)
    cells = grad_cam(net, image, target_class=2, resize=False)
    found = grad_cam(net, image, target_class=2, interpolation="nearest")
    centres = [1.5 + 2 * np.arange(count) for count in cells.shape]
    rows = [
        [int(np.abs(axis - voxel).argmin()) for voxel in range(n)] for axis, n in zip(centres, found.shape, strict=True)
    ]
    assert_same(1e3 * found, 1e3 * cells[np.ix_(*rows)])
    with pytest.raises(ConfigError, match="no such interpolation"):
        grad_cam(net, image, interpolation="cubic")
