"""Coarse maps are drawn where their values come from: windows, receptive fields, and a blob that Grad-CAM finds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import zoom
from torch import nn

from voxelwhy.explain._shared.placement import draw_at_centres, window_centres
from voxelwhy.explain._shared.receptive_fields import ReceptiveFields
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.networks.build import build_network

# ------------------------------------------------------------------ drawing


@given(st.data())
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_drawing_is_linear_interpolation_with_the_nearest_value_outside(data):
    shape = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=3))
    centres = [
        sorted(data.draw(st.sets(st.integers(-6, 30), min_size=2, max_size=5).map(lambda s: [x / 2 for x in s])))
        for _ in shape
    ]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.normal(size=[len(axis) for axis in centres])
    places = [np.clip(np.arange(n), axis[0], axis[-1]) for n, axis in zip(shape, centres, strict=True)]
    wanted = RegularGridInterpolator(centres, values)(np.stack(np.meshgrid(*places, indexing="ij"), axis=-1))
    np.testing.assert_allclose(draw_at_centres(values, centres, shape), wanted, atol=1e-12)


def test_a_value_stands_at_its_centre_and_a_single_one_everywhere():
    drawn = draw_at_centres([[1.0], [5.0]], [[2, 6], [3]], (9, 4))
    assert drawn[:, 0].tolist() == [1, 1, 1, 2, 3, 4, 5, 5, 5]
    assert (drawn == drawn[:, :1]).all()


def test_windows_that_are_clipped_to_the_same_voxels_count_once():
    assert window_centres([0, 0, 2], [4, 4, 4]).tolist() == [1.5, 1.5, 2.5]
    assert draw_at_centres([1.0, 1.0, 3.0], [[1.5, 1.5, 2.5]], (4,)).tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_occlusion_finds_the_only_place_that_counts(axis):
    """One voxel decides: the drawn map is highest at a window centre no further from it than half a stride."""
    shape, place = (40, 36, 44), [20, 16, 20]
    place[axis] = 26
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 2)).double().eval()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight.reshape(2, *shape)[1][tuple(place)] = 1.0
    found = occlusion(net, np.ones((1, *shape)), target_class=1, size=8, stride=4, apply_softmax=False)
    top = np.argwhere(found > found.max() - 1e-9).mean(axis=0)  # the two windows that hold it are equally high
    assert np.abs(top - place).max() <= 2.0
    assert found.max() == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------ receptive fields


class Branches(nn.Module):
    """A residual block with stride, then two branches side by side."""

    def __init__(self):
        super().__init__()
        self.conv, self.short = nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(1, 2, 1, stride=2)
        self.left, self.right = nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(2, 2, 1)

    def forward(self, image):
        values = self.conv(image) + self.short(image)
        return torch.cat([self.left(values), self.right(values)], dim=1)


STACKS = {
    "plain": ([nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.Conv2d(2, 2, 3), nn.AvgPool2d(3)], (40, 31)),
    "uneven options": ([nn.Conv2d(1, 2, (5, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3))], (21, 23)),
    "padding of a pool": ([nn.AvgPool2d(3, stride=2, padding=1), nn.Conv2d(1, 2, 3, dilation=2)], (30, 33)),
    "padding same": ([nn.Conv2d(1, 2, 4, padding="same"), nn.AvgPool2d(2)], (24, 22)),
    "padded before": ([nn.ZeroPad2d((3, 0, 1, 2)), nn.Conv2d(1, 2, 3)], (20, 21)),
    "reflected": ([nn.Conv2d(1, 2, 3, padding=2, padding_mode="reflect"), nn.AvgPool2d(2)], (24, 24)),
    "adaptive": ([nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d((6, 5))], (20, 22)),
    "branches": ([Branches()], (25, 28)),
    "normalised": ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Identity(), nn.AvgPool2d(2)], (20, 22)),
    "upsampled": ([nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.AvgPool2d(3)], (20, 21)),
    "upsampled by corners": (
        [nn.AvgPool2d(2), nn.Upsample((18, 25), mode="bilinear", align_corners=True), nn.AvgPool2d(18, 1)],
        (36, 26),
    ),
    "transposed": ([nn.Conv2d(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 2, 3, stride=1, padding=2)], (24, 21)),
    "transposed with stride": ([nn.ConvTranspose2d(1, 2, (4, 3), stride=(2, 1), padding=1), nn.AvgPool2d(2)], (14, 15)),
    "3D": ([nn.Conv3d(1, 2, 3), nn.AvgPool3d(2), nn.Conv3d(2, 2, 3, stride=(1, 2, 1))], (14, 17, 12)),
}


@pytest.mark.parametrize("case", STACKS)
def test_centres_of_receptive_fields_are_where_the_gradient_lies(case):
    """Independent of any formula: with equal weights, the gradient of a cell is symmetric about its field's centre."""
    layers, shape = STACKS[case]
    net = nn.Sequential(*layers).double().eval()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    image = torch.zeros(1, 1, *shape, dtype=torch.float64, requires_grad=True)
    fields = ReceptiveFields(image)
    with fields:
        cells = net(image)
    centres = fields.of(cells).centres(cells.shape[2:])
    for cell in np.ndindex(*[2] * len(shape)):
        index = [n // 2 - 1 + k for n, k in zip(cells.shape[2:], cell, strict=True)]  # around the middle of the layer
        gradient = torch.autograd.grad(cells[0, 0][tuple(index)], image, retain_graph=True)[0][0, 0].numpy()
        for axis, place in enumerate(index):
            seen = gradient.sum(axis=tuple(k for k in range(len(shape)) if k != axis))
            assert centres[axis][place] == pytest.approx((seen * np.arange(len(seen))).sum() / seen.sum(), abs=1e-9)


def test_max_pools_place_cells_as_mean_pools_do():
    for grads in (True, False):
        image = torch.zeros(1, 1, 20, 22, 18, requires_grad=grads)
        both = []
        for pool in (F.max_pool3d, F.avg_pool3d):
            fields = ReceptiveFields(image)
            with fields:
                both.append(fields.of(pool(torch.relu_(image * 1), 3, stride=2, padding=1)))
        assert both[0] == both[1] and both[0].step == (2, 2, 2) and both[0].first == (0, 0, 0)


def test_the_cells_of_the_papers_network_lie_where_they_should():
    """FACTS: on 193 voxels an axis, cells at 26.5, 38.5 … 158.5."""
    with torch.device("meta"):
        convolutions = build_network("rieke2018", (193, 229, 193)).eval()[:13]
        image = torch.zeros(1, 1, 193, 229, 193)
    fields = ReceptiveFields(image)
    with fields, torch.no_grad():
        cells = convolutions(image)
    centres = fields.of(cells).centres(cells.shape[2:])
    assert centres[0].tolist() == [26.5 + 12 * k for k in range(12)]
    assert [axis[-1] for axis in centres] == [158.5, 194.5, 158.5]


# ------------------------------------------------------------------ a blob off-centre

BLOBS = [(32, 52, 52), (78, 52, 52), (52, 32, 52), (52, 76, 52), (52, 52, 30), (52, 52, 74)]


@pytest.mark.parametrize("place", BLOBS)
def test_grad_cam_finds_a_blob_off_centre_within_half_a_cell(place):
    """The paper's network with weights that only add up: it sees brightness, whatever the place."""
    shape = (110, 104, 106)
    torch.manual_seed(0)
    net = build_network("rieke2018", shape).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.fill_(1 / parameter[0].numel())
        net.dense_3.weight[0] *= -1
    where = np.indices(shape) - np.reshape(place, (3, 1, 1, 1))
    image = np.exp(-(where**2).sum(axis=0) / (2 * 5.0**2))[None]
    found = grad_cam(net, image, target_class=1, apply_softmax=False)
    centre = (np.indices(shape) * found**4).reshape(3, -1).sum(axis=1) / (found**4).sum()
    assert np.abs(centre - place).max() <= 6  # cells are 12 voxels apart
    cells = grad_cam(net, image, target_class=1, apply_softmax=False, resize=False)
    naive = zoom(cells, np.divide(shape, cells.shape), order=1)
    naive_centre = (np.indices(shape) * naive**4).reshape(3, -1).sum(axis=1) / (naive**4).sum()
    assert np.abs(naive_centre - place).max() > 6  # the plain zoom is off by more
