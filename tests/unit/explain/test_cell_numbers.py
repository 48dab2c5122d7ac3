"""Grad-CAM where cells are reordered on their way: each is drawn at its place, said to be assumed, or refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.receptive_fields import ReceptiveFields
from voxelwhy.explain.grad_cam import grad_cam, grad_cam_cells

SHAPE = (20, 24)


@pytest.fixture
def image():
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))


class Between(nn.Module):
    """Two convolutions, and a function of the image before them or of the layer between them."""

    def __init__(self, before=torch.clone, between=torch.clone, **options):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.between = before, between
        self.first, self.last = nn.Conv2d(1, 4, 3, 2, 1, **options), nn.Conv2d(4, 6, 3, padding=1, **options)
        self.head = nn.Linear(6, 2)
        self.eval()

    def forward(self, image):
        return self.head(self.last(self.between(self.first(self.before(image)))).relu().mean(dim=(2, 3)))


class ConvNext(nn.Module):
    """Stem, a block and a downsampling of ConvNeXt (Liu et al. 2022): LayerNorm and dense layers with channels last."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.norm, self.wide = (
            nn.Conv2d(1, 6, 2, 2),
            nn.LayerNorm(6),
            nn.Conv2d(6, 6, 7, padding=3, groups=6),
        )
        self.block = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 6))
        self.down, self.last, self.head = nn.Conv2d(6, 8, 2, 2), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 2)
        self.eval()

    def forward(self, image):
        values = self.norm(self.stem(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        values = values + self.block(self.wide(values).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.last(self.down(values)).relu().mean(dim=(2, 3)))


class Window(nn.Module):
    """Attention within windows, shifted (Liu et al. 2021), on (1, *cells, channels)."""

    def __init__(self, channels, width, shift):
        super().__init__()
        self.width, self.shift, self.norm = width, shift, nn.LayerNorm(channels)
        self.three, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, values):
        _, x, y, channels = values.shape
        w = self.width
        inner = F.pad(self.norm(values), (0, 0, 0, -y % w, 0, -x % w))
        inner = torch.roll(inner, (-self.shift, -self.shift), (1, 2))
        rows, columns = inner.shape[1] // w, inner.shape[2] // w
        inner = inner.view(1, rows, w, columns, w, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, channels)
        query, key, value = self.three(inner).chunk(3, dim=-1)
        inner = self.out((query @ key.transpose(1, 2)).softmax(dim=-1) @ value)
        inner = inner.view(1, rows, columns, w, w, channels).permute(0, 1, 3, 2, 4, 5)
        inner = inner.reshape(1, rows * w, columns * w, channels)
        return values + torch.roll(inner, (self.shift, self.shift), (1, 2))[:, :x, :y]


class Swin(nn.Module):
    """Patches, two blocks, and a merging of four patches into one, with channels last throughout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.patches, self.one, self.two = nn.Conv2d(1, 8, 2, 2), Window(8, 4, 0), Window(8, 4, 2)
        self.merge, self.norm, self.head = nn.Linear(32, 12), nn.LayerNorm(12), nn.Linear(12, 2)
        self.eval()

    def forward(self, image):
        values = self.two(self.one(self.patches(image).permute(0, 2, 3, 1)))
        values = torch.cat([values[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1)
        return self.head(self.norm(self.merge(values)).mean(dim=(1, 2)))


def shuffled(values):
    """Channels in two groups, taken in turn, as in ShuffleNet (Zhang et al. 2018)."""
    n, channels, *cells = values.shape
    return values.view(n, 2, channels // 2, *cells).transpose(1, 2).reshape(n, channels, *cells)


def halves(values):
    one, other = values.chunk(2, dim=1)
    return shuffled(torch.cat([one, other.relu()], dim=1))


def gate(values):
    return (values.mean(1, keepdim=True) + values.amax(1, keepdim=True)).sigmoid()


def tokens(values):
    return values.flatten(2).transpose(1, 2).relu().transpose(1, 2).unflatten(2, values.shape[2:])


# ------------------------------------------------------------------ exact places

PLACED = {
    "shuffled channels": (Between(between=shuffled), 0, 2),
    "half of the channels": (Between(between=halves), 0, 2),
    "channel_shuffle": (Between(between=lambda values: F.channel_shuffle(values, 2)), 0, 2),
    "channels by index": (Between(between=lambda values: values[:, [2, 0, 3, 1]]), 0, 2),
    "circular padding": (Between(padding_mode="circular"), 0, 2),
    "tokens and back": (Between(between=tokens), 0, 2),
    "rolled and back": (Between(before=lambda image: image.roll(3, 2).tanh().roll(-3, 2)), 0, 2),
    "flipped and back": (Between(before=lambda image: image + image.flip(3).exp().flip(3)), 0, 2),
    "axes swapped and back": (Between(before=lambda image: image.mT.relu().mT), 0, 2),
    "cropped": (Between(before=lambda image: image[:, :, 4:, 4:]), 4, 2),
    "every second voxel": (Between(before=lambda image: image[..., 1::2, 1::2]), 1, 4),
    "one pixel of four": (Between(before=lambda image: F.pixel_unshuffle(image, 2)[:, 3:]), 1, 4),
    "einsum": (Between(between=lambda values: torch.einsum("ncxy,ck->nkxy", values, torch.eye(4))), 0, 2),
    "squeeze and excitation": (Between(between=lambda values: values * values.mean((2, 3), True).sigmoid()), 0, 2),
    "attention over places": (Between(between=lambda values: values * gate(values)), 0, 2),
    "ConvNeXt": (ConvNext(), 1.5, 4),
}


@pytest.mark.parametrize("name", PLACED)
def test_reordered_cells_keep_their_places_and_nothing_is_said(image, name):
    net, first, step = PLACED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = grad_cam(net, image, 1)
        centres = grad_cam_cells(net, image, 1).centres
    assert found.shape == SHAPE
    for axis, length in zip(centres, SHAPE, strict=True):
        assert axis.tolist() == [first + step * k for k in range(len(axis))]
        assert length - step - first <= axis[-1] < length


class Linear(nn.Module):
    """A dense layer along the channels, which are put last for it and first again."""

    def __init__(self, channels):
        super().__init__()
        self.dense = nn.Linear(channels, channels)

    def forward(self, values):
        return self.dense(values.movedim(1, -1)).movedim(-1, 1)


class Merged(nn.Module):
    """Four neighbours become the channels of one cell."""

    def forward(self, values):
        return torch.cat([values[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1).movedim(1, -1)


class Last(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.dense = nn.Linear(channels, 3)

    def forward(self, values):
        return self.dense(values).movedim(-1, 1)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 3, 3), Linear(3), nn.AvgPool2d(2)],
        [nn.Conv2d(1, 3, 2, 2), Merged(), Last(12), nn.AvgPool2d(2, 1)],
        [nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), nn.ChannelShuffle(2), nn.AvgPool2d(3, 2)],
        [nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.AvgPool2d(4)],
    ],
)
def test_the_gradient_of_each_cell_is_centred_where_it_is_placed(layers):
    """Independent of any bookkeeping: with equal weights, it is symmetric about the receptive field's centre."""
    net = nn.Sequential(*layers).double().eval()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    batch = torch.zeros(1, 1, 24, 28, dtype=torch.float64, requires_grad=True)
    fields = ReceptiveFields(batch)
    with fields:
        cells = net(batch)
    field, axes = fields.grid_of(cells)
    assert axes == (2, 3) and not field.assumed
    places = field.centres(cells.shape[2:])
    middle = [n // 2 for n in cells.shape[2:]]
    gradient = torch.autograd.grad(cells[0, 0][tuple(middle)], batch)[0][0, 0].numpy()
    for axis, index in enumerate(middle):
        seen = gradient.sum(axis=1 - axis)
        centre = (seen * np.arange(len(seen))).sum() / seen.sum()
        # A pixel shuffle places four cells around the one that they were computed from, a quarter of a step away.
        assert places[axis][index] == pytest.approx(
            centre, abs=0.25 if isinstance(layers[1], nn.PixelShuffle) else 1e-9
        )


# ------------------------------------------------------------------ channels last


def test_a_layer_with_channels_last_gives_the_map_of_its_channels_first_twin(image):
    net = ConvNext()

    class Twin(nn.Module):
        """The same network, with a module where the channels are first again."""

        def __init__(self):
            super().__init__()
            self.net, self.first = net, nn.Identity()

        def forward(self, image):
            values = self.first(net.norm(net.stem(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            values = values + net.block(net.wide(values).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return net.head(net.last(net.down(values)).relu().mean(dim=(2, 3)))

    for resize in (True, False):
        found = grad_cam(net, image, 1, last_conv_layer="norm", resize=resize)
        wanted = grad_cam(Twin().eval(), image, 1, last_conv_layer="first", resize=resize)
        assert wanted.max() > 0
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8 * wanted.max())
    assert grad_cam(net, image, 1, last_conv_layer="norm", resize=False).shape == (10, 12)


# ------------------------------------------------------------------ places that are assumed


@pytest.mark.parametrize(
    ("layer", "first", "step"), [("one", 0.5, 2), ("two", 0.5, 2), ("merge", 1.5, 4), ("norm", 1.5, 4)]
)
def test_cells_after_attention_in_shifted_windows_lie_on_the_grid_of_their_patches(image, layer, first, step):
    net = Swin()
    with pytest.warns(
        UserWarning, match="not followed through attention: its cells are taken to lie on a regular grid"
    ):
        found = grad_cam(net, image, 1, last_conv_layer=layer)
    with pytest.warns(UserWarning):
        centres = grad_cam_cells(net, image, 1, layer).centres
    assert found.shape == SHAPE and found.max() > 0
    assert [axis.tolist() for axis in centres] == [
        [first + step * k for k in range(length // step)] for length in SHAPE
    ]


def test_a_cell_after_shifted_windows_depends_most_on_its_own_patch(image):
    """Independent of the bookkeeping: the residual sum carries each patch past the attention."""
    net, batch = Swin(), image[None].requires_grad_()
    values = net.two(net.one(net.patches(batch).permute(0, 2, 3, 1)))
    for cell in ((0, 0), (3, 7), (9, 11)):
        gradient = torch.autograd.grad(values[0][cell].square().sum(), batch, retain_graph=True)[0][0, 0].abs()
        place = np.unravel_index(int(gradient.argmax()), SHAPE)
        assert [int(n) // 2 for n in place] == list(cell)


ASSUMED = {
    "cumsum": lambda values: values.cumsum(dim=2),
    "_adaptive_avg_pool2d": lambda values: F.adaptive_avg_pool2d(values, (7, 9)),
    "attention": lambda values: (
        F.scaled_dot_product_attention(*[values.flatten(2).transpose(1, 2)] * 3).transpose(1, 2).reshape(values.shape)
    ),
}


@pytest.mark.parametrize("operator", ASSUMED)
def test_what_is_not_followed_is_named(image, operator):
    net = Between(between=ASSUMED[operator])
    with pytest.warns(UserWarning, match=f"not followed through {operator}: "):
        assert grad_cam(net, image, 1).shape == SHAPE
    with pytest.warns(UserWarning):
        centres = grad_cam_cells(net, image, 1).centres
    for axis, length in zip(centres, SHAPE, strict=True):  # within half a cell of an even division of the image
        even = (np.arange(len(axis)) + 0.5) * length / len(axis) - 0.5
        assert np.abs(axis - even).max() <= length / len(axis) / 2


# ------------------------------------------------------------------ refused


def resampled(image):
    turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0]]])
    return F.grid_sample(image, F.affine_grid(turn, image.shape, align_corners=False), align_corners=False)


MOVED = {
    "grid_sampler_2d": resampled,
    "flip": lambda image: image.flip(2),
    "roll": lambda image: image.roll(3, 3),
    "rot90": lambda image: image.rot90(1, (2, 3)),
    "index": lambda image: image[..., torch.arange(image.shape[-1] - 1, -1, -1)],
    "transpose": lambda image: image.transpose(2, 3),
    "sort": lambda image: image.sort(dim=2)[0],
}


@pytest.mark.parametrize("operator", MOVED)
@pytest.mark.parametrize("where", ["before", "between"])
def test_where_the_image_was_moved_no_place_is_claimed(image, operator, where):
    net = Between(**{where: MOVED[operator]})
    with pytest.raises(ModelError, match=rf"moves the image before this layer \({operator}\).*resize=False"):
        grad_cam(net, image, 1)
    assert grad_cam(net, image, 1, resize=False).ndim == 2


def test_the_sum_of_an_image_and_its_mirror_image_is_refused(image):
    with pytest.raises(ModelError, match=r"moves the image before this layer \(flip\)"):
        grad_cam(Between(before=lambda image: image + image.flip(3)), image, 1)


def test_cells_that_are_no_grid_over_the_image_are_refused(image):
    """Behind an operator that is not followed, the axes are swapped; the shape of the cells shows it."""
    net = Between(between=lambda values: F.adaptive_avg_pool2d(values, (3, 11)).cumsum(3))
    with pytest.raises(ModelError, match="no regular grid over the image"):
        grad_cam(net, image, 1)
