"""Small networks in 2D and 3D that the heatmap tests explain, and what counts as the same map."""

import numpy as np
import torch
from torch import nn

SHAPES = {2: (19, 16), 3: (13, 11, 12)}
CONV, NORM, POOL = (
    {2: nn.Conv2d, 3: nn.Conv3d},
    {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    {2: nn.MaxPool2d, 3: nn.MaxPool3d},
)
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}  # of the map's maximum


def network(ndim, dtype=torch.float64, channels=1):
    """Convolutions with and without padding, normalisation, pooling, a dense layer: three logits."""
    torch.manual_seed(3)
    layers = nn.Sequential(
        CONV[ndim](channels, 5, 3),
        NORM[ndim](5),
        nn.ReLU(),
        POOL[ndim](2),
        CONV[ndim](5, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(3),
    )
    layers(torch.zeros(2, channels, *SHAPES[ndim]))
    nn.init.normal_(layers[1].running_mean, std=0.1)
    nn.init.uniform_(layers[1].running_var, 0.5, 2.0)
    nn.init.normal_(layers[7].weight, std=1.0)
    layers.double().eval()
    with torch.no_grad():  # far from a sure answer, where every map would be close to zero
        logits = layers(picture(ndim, channels=channels)[None])[0]
        layers[7].bias += torch.tensor([0.4, 0.7, 0.0]) - logits
    return layers.to(dtype)


def picture(ndim, dtype=torch.float64, channels=1):
    return torch.randn(channels, *SHAPES[ndim], generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(
        dtype
    )


class Guided(torch.autograd.Function):
    """Guided backpropagation by definition, Springenberg et al. 2015: what is positive passes where the input is."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (gradient > 0) * (ctx.saved_tensors[0] > 0)


def linear(ndim):
    """Three logits that are sums over the image with these weights, (3, *spatial)."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPES[ndim])), 3)).double().eval()
    return net, net[1].weight.detach().reshape(3, *SHAPES[ndim]).numpy().copy()


def assert_same(found, wanted, dtype=torch.float64, least=0.01):
    """Equal within the tolerance of the type, as a part of the maximum, which must lie far from zero."""
    wanted = np.asarray(wanted, dtype=float)
    top = np.abs(wanted).max()
    assert top > least
    assert found.shape == wanted.shape
    assert str(found.dtype) == str(dtype).removeprefix("torch.")
    assert np.abs(found - wanted).max() <= TOLERANCE[dtype] * top
