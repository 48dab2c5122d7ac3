"""Each network by name against its description, and against the same written out with torch's functions."""

import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from helpers.networks_elsewhere import ResNet, unsure
from helpers.paths import SCHEMA
from voxelwhy.config.checks import NETWORKS_WITHOUT_RELU
from voxelwhy.errors import ModelError
from voxelwhy.networks.build import build_network, smallest_grid
from voxelwhy.networks.layers import takes_lone_scan
from voxelwhy.registry import NETWORKS
from voxelwhy.report.wording import ONE_LOGIT

PAPER, MNI_2MM = (193, 229, 193), (91, 109, 91)


def on_meta(name, shape):
    with torch.device("meta"):
        return build_network(name, shape)


def ready(name):
    """The network on its smallest grid in eval mode; what it sees reaches its logits, through every layer."""
    torch.manual_seed(4)
    net = build_network(name, smallest_grid(name)).eval()
    for layer in net:
        if isinstance(layer, (nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.1, 2.0)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return net


def rieke2018(weights, x):
    for k, pool in ((1, 2), (2, 3), (3, 2), (4, 3)):
        x = F.conv3d(x, weights[f"Conv_{k}.weight"], weights[f"Conv_{k}.bias"])
        x = F.max_pool3d(F.relu(norm(weights, f"Conv_{k}_bn", x)), pool)
    return dense(weights, x, [1, 2, 3])


def korolev2017(weights, x):
    for group, (numbers, pool) in enumerate((((1, 2), 2), ((3, 4), 2), ((5, 6, 7), 2), ((8, 9, 10, 11), 3)), start=1):
        for k in numbers:
            x = F.relu(F.conv3d(x, weights[f"Conv_{k}.weight"], weights[f"Conv_{k}.bias"]))
        x = F.max_pool3d(norm(weights, f"Group_{group}_bn", x), pool)
    return dense(weights, x, [1, 2, 3])


def small_dataset(weights, x):
    for k in (1, 2, 3, 4):
        x = F.elu(F.conv3d(x, weights[f"Conv_{k}.weight"], weights[f"Conv_{k}.bias"]))
        x = x if k == 3 else F.max_pool3d(x, 3)
    return dense(weights, x, [1])


def compact(weights, x):
    for k in (1, 2, 3):
        x = F.conv3d(x, weights[f"Conv_{k}.weight"], weights[f"Conv_{k}.bias"], padding=1)
        x = F.max_pool3d(F.relu(norm(weights, f"Conv_{k}_bn", x)), 2)
    return x.flatten(1) @ weights["dense.weight"].T + weights["dense.bias"]


def sfcn(weights, x):
    """In the order of the paper: the max-pool before the ReLU, and a convolution of size 1 as the last layer."""
    for k in (1, 2, 3, 4, 5):
        x = F.conv3d(x, weights[f"Conv_{k}.weight"], weights[f"Conv_{k}.bias"], padding=1)
        x = F.relu(F.max_pool3d(norm(weights, f"Conv_{k}_bn", x), 2))
    x = F.relu(norm(weights, "Conv_6_bn", F.conv3d(x, weights["Conv_6.weight"], weights["Conv_6.bias"])))
    x = F.conv3d(F.avg_pool3d(x, x.shape[2:]), weights["dense.weight"][:, :, None, None, None], weights["dense.bias"])
    return x.flatten(1)


def norm(weights, name, x):
    mean, var, scale, shift = (
        weights[f"{name}.{part}"][None, :, None, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def dense(weights, x, numbers):
    x = x.flatten(1)
    for k in numbers:
        x = x @ weights[f"dense_{k}.weight"].T + weights[f"dense_{k}.bias"]
        x = x if k == numbers[-1] else x.relu()
    return x


@pytest.mark.parametrize("by_hand", [rieke2018, korolev2017, small_dataset, compact, sfcn])
def test_a_network_gives_the_logits_of_the_same_written_out(by_hand):
    net = ready(by_hand.__name__)
    scans = torch.randn(2, 1, *smallest_grid(by_hand.__name__), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits, expected = net(scans), by_hand(net.state_dict(), scans)
    assert logits.shape == (2, 1 if by_hand in (korolev2017, small_dataset) else 2)
    assert (logits[0] - logits[1]).abs().min() > 0.01
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_compact_averages_cells_of_voxels_first_and_sees_nothing_within_them():
    """By means of a reshape; voxels beyond the last whole cell are not seen, as in torch's pools."""
    torch.manual_seed(4)
    net, plain = (
        build_network("compact", shape, first_pool=p).eval() for shape, p in (((17, 18, 19), 2), ((8, 9, 9), 1))
    )
    plain.load_state_dict(net.state_dict())
    scans = torch.randn(2, 1, 17, 18, 19)
    cells = scans[..., :16, :18, :18].reshape(2, 1, 8, 2, 9, 2, 9, 2)
    with torch.inference_mode():
        logits = net(scans)
        torch.testing.assert_close(logits, plain(cells.mean((3, 5, 7))), atol=1e-5, rtol=1e-5)
        turned = cells.flip(3, 5, 7).reshape(2, 1, 16, 18, 18)
        torch.testing.assert_close(net(F.pad(turned, (0, 1, 0, 0, 0, 1))), logits, atol=1e-5, rtol=1e-5)


def test_compact_has_the_layers_and_parameters_of_its_description():
    with torch.device("meta"):
        net = build_network("compact", (49, 58, 49), first_pool=2)  # the demo's grid, not cropped
    block = ["Conv_{0}", "Conv_{0}_bn", "Conv_{0}_relu", "Conv_{0}_mp"]
    names = ["first_pool", *(name.format(k) for k in (1, 2, 3) for name in block), "flatten", "dropout", "dense"]
    assert [name for name, _ in net.named_children()] == names
    assert "first_pool" not in dict(on_meta("compact", PAPER).named_children())
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv3d)]
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {((3,) * 3, (1,) * 3, (1,) * 3)}
    assert [layer.kernel_size for layer in net if isinstance(layer, (nn.AvgPool3d, nn.MaxPool3d))] == [2] * 4
    # 49 x 58 x 49 voxels are 24 x 29 x 24 cells, and 3 x 3 x 3 after three max-pools.
    inputs = 32 * 3 * 3 * 3
    weights = (27 * 8 + 8) + (27 * 8 * 16 + 16) + (27 * 16 * 32 + 32) + 2 * (8 + 16 + 32) + 2 * inputs + 2
    assert sum(p.numel() for p in net.parameters()) == weights == 19_394
    assert (net.dense.in_features, net.dense.out_features, net.dropout.p) == (inputs, 2, 0.5)


def test_sfcn_has_the_layers_and_parameters_of_its_paper():
    """Peng et al. 2021, section 2.2: channels 32, 64, 128, 256, 256, 64; about three million parameters for 40 ages."""
    net = on_meta("sfcn", PAPER)
    block = ["Conv_{0}", "Conv_{0}_bn", "Conv_{0}_relu", "Conv_{0}_mp"]
    names = [name.format(k) for k in (1, 2, 3, 4, 5) for name in block]
    names += ["Conv_6", "Conv_6_bn", "Conv_6_relu", "mean", "flatten", "dropout", "dense"]
    assert [name for name, _ in net.named_children()] == names
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv3d)]
    assert [(c.kernel_size[0], c.padding[0]) for c in convolutions] == [(3, 1)] * 5 + [(1, 0)]
    assert [layer.kernel_size for layer in net if isinstance(layer, nn.MaxPool3d)] == [2] * 5
    assert (net.dense.in_features, net.dense.out_features, net.dropout.p) == (64, 2, 0.5)
    channels, kernels = (1, 32, 64, 128, 256, 256, 64), (27, 27, 27, 27, 27, 1)
    weights = sum(kernel * a * b + b + 2 * b for kernel, a, b in zip(kernels, channels[:-1], channels[1:], strict=True))
    assert sum(p.numel() for p in net.parameters()) == weights + 64 * 2 + 2 == 2_950_466
    with torch.device("meta"):
        ages = build_network("sfcn", PAPER, n_classes=40)
    assert sum(p.numel() for p in ages.parameters()) == pytest.approx(3e6, rel=0.02)


def test_sfcn_has_the_same_weights_on_any_grid_and_trains_on_the_smallest():
    torch.manual_seed(3)
    net = build_network("sfcn", smallest_grid("sfcn"), channels=2, n_classes=3)
    torch.manual_seed(3)
    other = build_network("sfcn", (47, 64, 33), channels=2, n_classes=3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert other(torch.zeros(2, 2, 47, 64, 33)).shape == (2, 3)
    scans = torch.randn(2, 2, 32, 32, 32)
    F.cross_entropy(net(scans), torch.tensor([0, 1])).backward()
    assert all(torch.isfinite(weights.grad).all() and weights.grad.any() for weights in net.parameters())
    # One cell is left there: of one scan alone batch normalisation has nothing to normalise.
    assert not takes_lone_scan(net, scans.shape)
    assert takes_lone_scan(net, (2, 2, 47, 64, 33))


def test_korolev2017_has_the_layers_of_its_description():
    net = on_meta("korolev2017", PAPER)
    names, number = [], 0
    for group, depth in enumerate((2, 2, 3, 4), start=1):
        for _ in range(depth):
            number += 1
            names += [f"Conv_{number}", f"Conv_{number}_relu"]
        names += [f"Group_{group}_bn", f"Group_{group}_mp"]
    names += ["flatten", "dense_1", "dense_1_relu", "dropout", "dense_2", "dense_2_relu", "dense_3"]
    assert [name for name, _ in net.named_children()] == names
    channels = [8] * 2 + [16] * 2 + [32] * 3 + [64] * 4
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv3d)]
    assert [c.out_channels for c in convolutions] == channels
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {((3,) * 3, (1,) * 3, (0,) * 3)}
    assert [layer.kernel_size for layer in net if isinstance(layer, nn.MaxPool3d)] == [2, 2, 2, 3]
    assert (net.dense_1.in_features, net.dropout.p) == (2880, 0.7)
    weights = sum(27 * a * b + b for a, b in zip([1, *channels], channels, strict=False))
    weights += sum(2 * width for width in (8, 16, 32, 64)) + 2880 * 128 + 128 + 128 * 64 + 64 + 64 + 1
    assert sum(p.numel() for p in net.parameters()) == weights


def test_small_dataset_has_the_layers_of_its_description():
    net = on_meta("small_dataset", MNI_2MM)
    names = ["Conv_1", "Conv_1_elu", "Conv_1_mp", "Conv_2", "Conv_2_elu", "Conv_2_mp", "Conv_3", "Conv_3_elu"]
    names += ["Conv_4", "Conv_4_elu", "Conv_4_mp", "flatten", "dropout", "dense_1"]
    assert [name for name, _ in net.named_children()] == names
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv3d)]
    assert {(c.out_channels, c.kernel_size, c.stride, c.padding) for c in convolutions} == {
        (64, (3,) * 3, (1,) * 3, (0,) * 3)
    }
    assert [layer.kernel_size for layer in net if isinstance(layer, nn.MaxPool3d)] == [3, 3, 3]
    assert [layer.alpha for layer in net if isinstance(layer, nn.ELU)] == [1.0] * 4
    assert (net.dense_1.in_features, net.dense_1.out_features, net.dropout.p) == (128, 1, 0)
    weights = 27 * 64 + 64 + 3 * (27 * 64 * 64 + 64) + 128 + 1
    assert sum(p.numel() for p in net.parameters()) == weights


def test_what_is_said_of_a_network_without_building_it_is_true():
    """Words and settings know which networks have one logit and which have no ReLU; torch is not loaded for that."""
    nets = {name: on_meta(name, PAPER) for name in NETWORKS}
    last = {name: [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1] for name, net in nets.items()}
    assert {name for name, layer in last.items() if layer.out_features == 1} == set(ONE_LOGIT)
    without = {name for name, net in nets.items() if not any(isinstance(layer, nn.ReLU) for layer in net.modules())}
    assert without == set(NETWORKS_WITHOUT_RELU)
    described = yaml.safe_load(SCHEMA.read_text())["properties"]["training"]["properties"]["network"]["description"]
    for name in ("rieke2018", "korolev2017", "small_dataset", "sfcn", "resnet18", "densenet121"):
        least = np.unique(smallest_grid(name)).item()
        assert f"at least {least} voxels" in described.split(f"{name} (")[1].split(")")[0]


# ------------------------------------------------------------------ networks of MONAI


def densenet121(net, x):
    """Huang et al. 2017, table 1: blocks of 6, 12, 24 and 16 layers, with the weights of `net` in their order."""
    convolutions, norms = ([m for m in net.modules() if isinstance(m, kind)] for kind in (nn.Conv3d, nn.BatchNorm3d))
    kernels, scales = (iter(layers) for layers in (convolutions, norms))

    def normed(x):
        layer = next(scales)
        return F.relu(F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias))

    x = F.conv3d(x, next(kernels).weight, stride=2, padding=3)
    x = F.max_pool3d(normed(x), 3, 2, 1)
    for depth in (6, 12, 24, 16):
        for _ in range(depth):
            new = F.conv3d(normed(x), next(kernels).weight)
            x = torch.cat([x, F.conv3d(normed(new), next(kernels).weight, padding=1)], 1)
        x = normed(x)
        if depth != 16:
            x = F.avg_pool3d(F.conv3d(x, next(kernels).weight), 2)
    assert (next(kernels, None), next(scales, None)) == (None, None)
    return x.mean((2, 3, 4)) @ net.class_layers.out.weight.T + net.class_layers.out.bias


def resnet18(net, x):
    """The plain ResNet-18 of the tests, with the weights of `net` in their order."""
    plain = ResNet(3, channels=x.shape[1]).eval()
    names = [name for name in net.state_dict() if not name.startswith("fc")] + ["fc.weight", "fc.bias"]
    weights = [net.state_dict()[name] for name in names]
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    return plain(x)


@pytest.mark.parametrize("by_hand", [resnet18, densenet121])
def test_a_network_of_monai_gives_the_logits_of_the_same_written_out(by_hand):
    torch.manual_seed(8)
    name = by_hand.__name__
    shape = tuple(least + more for least, more in zip(smallest_grid(name), (0, 7, 20), strict=True))
    net = build_network(name, shape, channels=2).eval()
    scans = torch.randn(2, 2, *shape)
    unsure(net, scans, scans.flip(0))
    with torch.inference_mode():
        logits, expected = net(scans), by_hand(net, scans)
    assert logits.shape == (2, 2)
    assert (logits[0] - logits[1]).abs().min() > 0.01
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_a_network_of_monai_trains_on_its_smallest_grid_and_has_its_dropout(name):
    least = smallest_grid(name)
    torch.manual_seed(0)
    net = build_network(name, least, dropout=0.4)
    assert {layer.p for layer in net.modules() if isinstance(layer, (nn.Dropout, nn.Dropout3d))} == {0.4}
    scans = torch.randn(2, 1, *least)
    F.cross_entropy(net(scans), torch.tensor([0, 1])).backward()
    assert all(torch.isfinite(weights.grad).all() and weights.grad.any() for weights in net.parameters())
    # One cell is left there: of one scan alone batch normalisation has nothing to normalise.
    assert not takes_lone_scan(net, scans.shape)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(scans[:1])
    assert takes_lone_scan(net, (2, 1, *(3 * length for length in least)))


def test_without_monai_its_networks_say_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "voxelwhy.networks.resnet18", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without("monai"), *sys.meta_path])
    with pytest.raises(ModelError, match=r"resnet18 is built by monai, .*pip install 'voxelwhy\[monai\]'"):
        build_network("resnet18", (33, 33, 33))
    assert build_network("small", (16, 16, 16))


class _Without:
    """An import system that lacks one package."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_the_seed_decides_the_weights_whatever_was_tried_on_the_grid():
    with torch.random.fork_rng():
        for name in ("resnet18", "densenet121"):
            torch.manual_seed(3)
            one = build_network(name, smallest_grid(name))
            torch.manual_seed(3)
            two = build_network(name, PAPER)
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
