"""Occlusion by the incremental engine: the same map as by the plain loop, and what is said and done around it."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.heatmap_cases import SHAPES, assert_same, network, picture
from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.explain._shared import blanking
from voxelwhy.explain._shared.prepare import images_are_separate
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.explain.incremental import engine as incremental
from voxelwhy.explain.incremental import known
from voxelwhy.explain.occlusion import occlusion

OPTIONS = {"size": (8, 6, 4), "stride": (4, 3, 5), "resize": False, "positive_only": False, "target_class": 1}


def options(ndim, **more):
    return OPTIONS | {"size": OPTIONS["size"][:ndim], "stride": OPTIONS["stride"][:ndim]} | more


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("apply_softmax", [True, False])
def test_windows_and_areas_are_those_of_the_plain_loop(ndim, dtype, apply_softmax):
    net, image = network(ndim, dtype, channels=2), picture(ndim, dtype, channels=2)
    more = {"occlusion_value": 0.4, "apply_softmax": apply_softmax}
    maps = [occlusion(net, image, **options(ndim, engine=engine, **more)) for engine in ("incremental", "plain")]
    assert_same(*maps, dtype)
    labels = np.arange(np.prod(SHAPES[ndim])).reshape(SHAPES[ndim]) // 37 % 9
    more |= {"positive_only": False, "target_class": 0}
    maps = [area_occlusion(net, image, labels, engine=engine, **more) for engine in ("incremental", "plain")]
    assert_same(*maps, dtype)


class InOrder(nn.Module):
    """A network that cannot run in channels-last memory."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv3d(2, 2, 3, padding=1), nn.Linear(2 * 10 * 9 * 8, 2)

    def forward(self, x):
        return self.dense(self.conv(x).relu().flatten(1)) + self.dense(x.tanh().view(x.shape[0], -1))


def test_a_network_that_views_its_layers_in_the_order_of_memory_is_followed_too():
    net, image = InOrder().eval(), torch.randn(2, 10, 9, 8)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        net(image[None].clone(memory_format=torch.channels_last_3d))
    maps = [occlusion(net, image, size=4, stride=3, engine=engine) for engine in ("incremental", "plain")]
    assert_same(*maps, torch.float32)


def test_labels_of_any_size_and_type_are_the_same_areas():
    net, image = network(3), picture(3)
    labels = np.arange(np.prod(SHAPES[3])).reshape(SHAPES[3]) // 37 % 9
    found = area_occlusion(net, image, labels, engine="incremental", positive_only=False)
    for same in (labels.astype(np.float64), labels * 3_000_000, labels.astype(np.uint8)):
        assert np.array_equal(area_occlusion(net, image, same, engine="incremental", positive_only=False), found)
    every = area_occlusion(net, image, labels + 1, engine="incremental", positive_only=False)
    assert np.array_equal(every[labels > 0], found[labels > 0]) and every[labels == 0].all()
    many = area_occlusion(net, image, (labels + 1) * 3_000_000, engine="incremental", positive_only=False)
    assert np.array_equal(many, every)


def test_it_is_really_the_incremental_engine(monkeypatch):
    """A net that is run once, as a whole, however many windows there are; and by itself where there is much to do."""
    net, image, runs = network(3), picture(3), []
    images_are_separate(net, image[None])  # tried once for a network
    net.register_forward_pre_hook(lambda *_: runs.append(torch.compiler.is_exporting()))
    found = occlusion(net, image, **options(3, engine="incremental"))
    assert found.size == 4 * 4 * 3 and runs.count(False) == 1
    runs.clear()
    occlusion(net, image, **options(3))
    assert runs.count(False) > 20  # little to do: not worth following the network
    runs.clear()
    monkeypatch.setattr(blanking, "WORTH_IT", 1000)
    for times in (2, 1):  # once more the first time: what a window spares is estimated from one pass
        assert np.array_equal(occlusion(net, image, **options(3)), found)
        assert runs.count(False) == times
        runs.clear()


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_changes_nothing_costs_nothing(ndim, monkeypatch):
    net, image = network(ndim), picture(ndim)
    image[:, 6:] = 0
    seen = []
    run = incremental.Incremental.__call__
    monkeypatch.setattr(
        incremental.Incremental, "__call__", lambda self, lo, *rest: seen.append(len(lo)) or run(self, lo, *rest)
    )
    found = occlusion(net, image, size=4, stride=4, resize=False, engine="incremental", positive_only=False)
    assert seen == [found[:2].size]
    assert (found[2:] == 0).all() and np.abs(found[:2]).min() > 0
    blank = occlusion(net, torch.zeros_like(image), size=4, stride=4, engine="incremental")
    assert seen == [found[:2].size] and (blank == 0).all()


def test_the_batch_size_changes_nothing():
    net, image = network(3), picture(3)
    maps = [occlusion(net, image, **options(3, engine="incremental", batch_size=n)) for n in (None, 1, 3, 50)]
    for other in maps[1:]:
        assert_same(other, maps[0])


class Hidden(nn.Module):
    """An option that no weight and no printed word shows."""

    def __init__(self):
        super().__init__()
        self.inner, self.factor = network(2), 1.0

    def forward(self, image):
        return self.inner(image * self.factor)


def test_a_network_that_changed_is_followed_anew():
    net, image = Hidden().eval(), picture(2)
    first = occlusion(net, image, **options(2, engine="incremental"))
    changes = [
        lambda: net.inner[0].weight.data.mul_(0.5),
        lambda: net.inner[0].weight.requires_grad_(False).mul_(0.5),
        lambda: setattr(net.inner[4], "weight", nn.Parameter(net.inner[4].weight.detach() * 2)),
        lambda: net.inner.__setitem__(5, nn.ELU().eval()),
        lambda: setattr(net, "factor", 0.7),
    ]
    for change in changes:
        change()
        found = occlusion(net, image, **options(2, engine="incremental"))
        assert_same(found, occlusion(net, image, **options(2, engine="plain")), least=1e-3)
        assert not np.allclose(found, first)


@pytest.fixture
def made(monkeypatch):
    """One entry for each time that a network is followed; none has been followed before."""
    calls, export = [], torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *a, **k: calls.append(1) or export(*a, **k))
    monkeypatch.setattr(known, "_SHARED", {})
    return calls


def test_the_network_is_followed_once(made):
    net = network(2)
    for scale in (1, 2, 3):
        occlusion(net, picture(2) * scale, **options(2, engine="incremental"))
    assert len(made) == 1


def test_networks_that_differ_in_their_weights_alone_are_followed_once(made):
    def pooled(seed, includes_border=True):
        torch.manual_seed(seed)
        pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=includes_border)
        return nn.Sequential(pool, nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))

    image = picture(2)
    for number, net in enumerate([pooled(1), pooled(2), pooled(3), pooled(3, includes_border=False)]):
        net(image[None].float())  # places the weights of the lazy layer
        net.double()[2].running_mean += 0.01 * number
        found = occlusion(net.eval(), image, **options(2, engine="incremental"))
        assert_same(found, occlusion(net, image, **options(2, engine="plain")), least=1e-5)
    assert len(made) == 2  # the last one has another option, which its repr does not show


def test_networks_with_code_of_their_own_share_a_graph_unless_it_is_hooked(made):
    hooked = network(2)
    hooked[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    nets = Hidden().eval(), Hidden().eval(), Hidden().eval(), network(2), hooked
    nets[2].factor = 0.7
    for net in nets:
        found = occlusion(net, picture(2), **options(2, engine="incremental"))
        assert_same(found, occlusion(net, picture(2), **options(2, engine="plain")), least=1e-3)
    assert len(made) == 4, "all but the second"


class Branching(nn.Module):
    """What it does depends on the image's values: no graph can be made of it."""

    def __init__(self):
        super().__init__()
        self.inner = network(2)

    def forward(self, image):
        return self.inner(image if float(image.sum()) > -1e9 else -image)


@pytest.mark.parametrize("make", [Branching, lambda: torch.jit.trace(network(2), picture(2)[None])])
def test_a_network_that_cannot_be_followed_is_run_whole_and_that_is_said(make, monkeypatch, capsys):
    net, image = make().eval(), picture(2)
    wanted = occlusion(network(2), image, **options(2, engine="plain"))
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    monkeypatch.setattr(blanking, "is_worth_following", lambda *_: True)
    assert_same(occlusion(net, image, **options(2, verbose=True)), wanted)
    assert "the whole network is run for each part: " in capsys.readouterr().out
    with pytest.raises(ModelError, match=r"torch.export cannot follow it|TorchScript"):
        occlusion(net, image, **options(2, engine="incremental"))


def test_verbose_says_what_multiply_adds_allow_and_where_locality_ends(capsys):
    class Excited(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.squeeze = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 4)
            self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

        def forward(self, image):
            values = self.first(image).relu()
            values = values * self.squeeze(values.mean(dim=(2, 3))).sigmoid()[:, :, None, None]
            return self.head(self.second(values).mean(dim=(2, 3)))

    torch.manual_seed(0)
    net, image = Excited().double().eval(), picture(2)
    maps = [occlusion(net, image, **options(2, engine=e, verbose=True)) for e in ("incremental", "plain")]
    assert_same(*maps, least=1e-4)
    said = capsys.readouterr().out
    assert "by multiply-adds, up to 1." in said  # the second convolution is computed whole each time
    assert "needs a whole layer: 1 of 2 convolution" in said and "mean" in said


def test_options_are_checked():
    net, image = network(2), picture(2)
    with pytest.raises(ConfigError, match="no such engine"):
        occlusion(net, image, engine="fast")
    for more in ({"batch_size": 0}, {"occlusion_value": np.inf}):
        with pytest.raises(ConfigError):
            occlusion(net, image, engine="incremental", **more)
