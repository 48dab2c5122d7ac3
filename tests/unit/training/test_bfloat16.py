"""bfloat16 on a processor: oneDNN's wrong gradients are still there, and a training that would have them is refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from helpers.training_settings import SETTINGS
from voxelwhy.errors import ModelError
from voxelwhy.networks.build import build_network
from voxelwhy.training import bfloat16
from voxelwhy.training import loop as training
from voxelwhy.training.bfloat16 import no_window_inside, refuse_wrong_gradients
from voxelwhy.training.fold import load_fold

# In a process of its own: it may die of what it writes beyond its memory.
GRADIENTS = """
import sys, torch
cells, kernel = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
worst = 0.0
for seed in range(6):
    torch.manual_seed(seed)
    conv = torch.nn.Conv3d(16, 32, kernel, padding=kernel // 2)
    scans, found = torch.randn(4, 16, cells, 9, 9), []
    for enabled in (False, True):
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            cells_after = conv(scans)
        cells_after.float().pow(2).sum().backward()
        found.append(conv.weight.grad.clone())
    error = float((found[1] - found[0]).abs().max() / found[0].abs().max())
    worst = max(worst, error if error == error else float("inf"))
print(worst)
"""


def error_of(cells, kernel):
    """The largest error of a bfloat16 gradient as a part of the largest gradient; infinite where the process dies."""
    done = subprocess.run([sys.executable, "-c", GRADIENTS, str(cells), str(kernel)], capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else float("inf")


@pytest.mark.skipif(not bfloat16.has_bfloat16(), reason="this processor has no bfloat16 arithmetic")
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_are_right_where_a_window_lies_inside_and_wrong_where_none_does(kernel):
    """Where they are right on the second grid too, oneDNN has been mended, and the refusal can go."""
    assert error_of(kernel, kernel) < 0.05
    if error_of(kernel - 1, kernel) < 0.05:
        pytest.skip("the oneDNN of this torch, or its way on this processor, has no such defect")


@pytest.mark.parametrize(
    ("geometry", "refused"),
    [
        ((2, 3, 1, 1, 1), True),
        ((3, 3, 1, 1, 1), False),
        ((1, 3, 2, 1, 1), True),
        ((4, 3, 2, 1, 1), False),
        ((7, 7, 2, 3, 1), True),
        ((8, 7, 2, 3, 1), False),
        ((4, 3, 1, 2, 2), True),
        ((5, 3, 1, 2, 2), False),
        ((3, 3, 1, 0, 1), False),
        ((1, 1, 1, 0, 1), False),
    ],
)
def test_whether_a_window_lies_inside(geometry, refused):
    length, kernel, stride, padding, dilation = geometry
    assert no_window_inside(*geometry) == refused
    reach, starts = dilation * (kernel - 1) + 1, range(-padding, length + padding, stride)
    inside = [start for start in starts if start >= 0 and start + reach <= length]
    assert refused == (padding > 0 and not inside)


def test_a_network_is_refused_on_a_grid_that_leaves_its_last_layers_two_cells():
    for name, shape, layer in (("small", (24, 40, 40), None), ("small", (16, 40, 40), "Conv_4")):
        images = torch.zeros(1, 1, *shape)
        if layer is None:
            refuse_wrong_gradients(build_network(name, shape), images)
        else:
            with pytest.raises(ModelError, match=f"{layer} has a kernel of 3 x 3 x 3 on 2 x 5 x 5 cells.*float32"):
                refuse_wrong_gradients(build_network(name, shape), images)
    same = nn.Sequential(nn.Conv3d(1, 2, 3, padding="same"))
    with pytest.raises(ModelError, match="0 has a kernel of 3 x 3 x 3 on 9 x 2 x 9"):
        refuse_wrong_gradients(same, torch.zeros(1, 1, 9, 2, 9))
    refuse_wrong_gradients(nn.Sequential(nn.Conv3d(1, 2, 3, padding="valid")), torch.zeros(1, 1, 9, 3, 9))
    model = build_network("resnet18", (33, 33, 33)).train()
    with pytest.raises(ModelError, match=r"layer4\.0\.conv"):
        refuse_wrong_gradients(model, torch.zeros(1, 1, 33, 33, 33))
    assert model.training and not model.layer4[0].conv1._forward_pre_hooks


def test_a_training_is_refused_before_it_begins(small_cohort, classes, monkeypatch):
    mask, paths, folds = small_cohort
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    monkeypatch.setattr(training, "_one_epoch", None)
    with pytest.raises(ModelError, match=r"training\.precision bfloat16.*Conv_4"):
        training.train_network(data, SETTINGS | {"precision": "bfloat16"}, seed=1, fold=0, device="cpu")
