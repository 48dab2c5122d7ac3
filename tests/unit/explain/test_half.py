"""Networks in float16 and bfloat16: the maps of the gradient methods are those of the same network in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from voxelwhy import registry
from voxelwhy.explain._shared.half import scaled_gradients, widened

GRADIENTS = (
    "sensitivity_analysis", "guided_backprop", "input_x_gradient", "grad_cam", "grad_cam_plusplus", "guided_grad_cam",
    "integrated_gradients", "smoothgrad",
)  # fmt: skip


def network(sure):
    """A small network; `sure` sets how far apart its logits lie."""
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(48, 2)).eval()
    model[-1].weight.data *= sure
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("sure", [pytest.param(1, marks=pytest.mark.slow), 300])
def test_a_map_in_half_precision_is_that_in_float32(dtype, method, sure):
    """The gradient of a sure network's probability is far below what float16 can hold, and would be 0."""
    scan, model = torch.randn(10, 10, 10, generator=torch.Generator().manual_seed(1)).to(dtype), network(sure).to(dtype)
    explain = registry.load(registry.METHODS, method, "method").__dict__[method]
    found = explain(model, scan, target_class=1)
    assert found.dtype == np.float32 and found.any()
    wanted = explain(model.float(), scan.float(), target_class=1)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
    # bfloat16 rounds a logit of 40 by 0.1, and with it the factor p (1 - p).
    rel = 0.1 if dtype == torch.float16 else 0.5
    if method not in ("grad_cam", "grad_cam_plusplus"):  # whose unit is that of the layer
        assert np.abs(found).sum() == pytest.approx(np.abs(wanted).sum(), rel=rel)


@pytest.mark.parametrize("weight", [1e4, 1e-6])
def test_gradients_that_overflow_are_computed_again_with_less_scaling(weight):
    """A factor of 1,000 on gradients of 10,000 is beyond float16; the result is the closed form p (1 - p) w."""
    x = torch.full((1, 1), 1e-3, dtype=torch.float16, requires_grad=True)
    logits = torch.cat([x * 0, x * weight], dim=1)
    scores, scale = widened(logits)
    p = scale.on(scores.softmax(dim=1)[:, 1])
    (found,) = scaled_gradients(p, [x])
    exact = float(p.detach() * (1 - p.detach())) * float(torch.tensor(weight, dtype=torch.float16))
    assert float(found) == pytest.approx(exact, rel=0.02)  # 1e-6 has few digits in float16


def test_other_networks_are_not_scaled():
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    scores, scale = widened(logits)
    assert scores.dtype == torch.float64 and not hasattr(scale.on(scores), "gradient_scale")
    half = logits.half()
    (found,) = torch.autograd.grad(widened(half)[0].sum(), [half])
    assert found.tolist() == [[1.0, 1.0]], "unscaled, where nobody divides by the factor"
