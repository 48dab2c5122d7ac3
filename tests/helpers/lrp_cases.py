"""LRP by a plain loop over contributions, and the networks that it is held against."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.heatmap_cases import CONV, NORM, POOL

RULES = [
    {"rule": "epsilon", "epsilon": 1e-9},
    {"rule": "epsilon", "epsilon": 0.05},
    {"rule": "alpha_beta"},
    {"rule": "alpha_beta", "alpha": 1.0},
    {"rule": "alpha_beta", "alpha": 1.5, "beta": 0.5},
]
each_rule = pytest.mark.parametrize("options", RULES, ids=lambda o: "-".join(map(str, o.values())))
each_case = pytest.mark.parametrize("ndim", [2, 3])


def matrix_of(function, shape):
    """The linear function as a matrix, one column for each input, and its value at 0."""
    with torch.no_grad():
        bias = function(torch.zeros(1, *shape, dtype=torch.float64))
        units = torch.eye(int(np.prod(shape)), dtype=torch.float64)
        columns = [(function(unit.reshape(1, *shape)) - bias).flatten() for unit in units]
    return torch.stack(columns, 1).numpy(), bias.flatten().numpy()


def shares_by_loop(matrix, bias, x, relevance, rule="epsilon", epsilon=1e-6, alpha=2.0, beta=None):
    """Bach et al. 2015, equations 58 and 60, output by output: every contribution x_i w_ij by itself."""
    beta = alpha - 1 if beta is None else beta
    found = np.zeros_like(x)
    for row, shift, amount in zip(matrix, bias, relevance, strict=True):
        contributions = row * x
        z = contributions.sum() + shift
        if rule == "epsilon":
            found += contributions / (z + (epsilon if z >= 0 else -epsilon)) * amount
            continue
        same = contributions * np.sign(contributions) == contributions * (1 if z >= 0 else -1)  # the sign of z
        own, other = np.where(same, contributions, 0), np.where(same, 0, contributions)
        own_bias, other_bias = (shift, 0) if (shift >= 0) == (z >= 0) else (0, shift)
        own_sum, other_sum = own.sum() + own_bias, other.sum() + other_bias
        if own_sum and other_sum:
            found += (alpha * own / own_sum - beta * other / other_sum) * amount
        elif own_sum:
            found += own / own_sum * amount
    return found


def relevance_by_loop(layers, image, target, options):
    """LRP of a chain of layers: ("linear", f), ("relu", f) or ("max", f), each a function of a batch."""
    values = [image[None]]
    for _, function in layers:
        values.append(function(values[-1]).detach())
    logits = values[-1].flatten().detach().numpy()
    relevance = np.where(np.arange(len(logits)) == target, logits, 0)
    for (kind, function), x in zip(reversed(layers), reversed(values[:-1]), strict=True):
        if kind == "linear":
            matrix, bias = matrix_of(function, x.shape[1:])
            relevance = shares_by_loop(matrix, bias, x.flatten().detach().numpy(), relevance, **options)
        elif kind == "max":
            marked = torch.arange(1.0, x.numel() + 1, dtype=torch.float64).reshape(x.shape)
            taken = np.zeros(x.numel())
            largest = function(x).flatten()
            for number, window in enumerate(windows_of(marked, x)):
                best = max(window, key=lambda place: float(x.flatten()[place]))
                assert x.flatten()[best] == largest[number]
                taken[best] += relevance[number]
            relevance = taken
    return relevance.reshape(image.shape).sum(axis=0)


def windows_of(marked, x):
    """Flat places of the inputs of each cell of a max-pool of 2, in the order of its outputs."""
    grid = [length // 2 for length in x.shape[2:]]
    for channel in range(x.shape[1]):
        for cell in np.ndindex(*grid):
            box = tuple(slice(2 * c, 2 * c + 2) for c in cell)
            yield [int(place) - 1 for place in marked[(0, channel, *box)].flatten()]


def little(ndim, bias):
    """A chain small enough for the loop: signed image, stride, padding, batch normalisation, pools of both kinds."""
    torch.manual_seed(11)
    shape = {2: (9, 8), 3: (6, 5, 6)}[ndim]
    conv = CONV[ndim](2, 3, 3, padding=1, bias=bias)
    norm = NORM[ndim](3)
    nn.init.uniform_(norm.weight, -1.0, 2.0)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    if bias:
        nn.init.normal_(norm.bias, std=0.3)
        nn.init.normal_(norm.running_mean, std=0.3)
    second = CONV[ndim](3, 4, 2, stride=2, padding=1, bias=bias)
    mean = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[ndim](2)
    net = nn.Sequential(
        conv, norm, nn.ReLU(), POOL[ndim](2), second, nn.LeakyReLU(0.2), mean, nn.Flatten(), nn.LazyLinear(3, bias=bias)
    )
    net.double().eval()
    image = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():  # logits of both signs, and no map close to 0
        net(image[None])
        net[8].weight.copy_(4 * torch.randn_like(net[8].weight))
        net[8].weight[0] *= -net(image[None])[0, 0].sign()
        net[8].weight[1] *= net(image[None])[0, 1].sign()
    layers = [
        ("linear", nn.Sequential(conv, norm)), ("relu", net[2]), ("max", net[3]), ("linear", second),
        ("relu", net[5]), ("linear", mean), ("linear", nn.Sequential(nn.Flatten(), net[8])),
    ]  # fmt: skip
    return net, image, layers


class Residual(nn.Module):
    """All that LRP conserves relevance through, written as people write it, and without biases."""

    def __init__(self, ndim):
        super().__init__()
        self.ndim = ndim
        self.first = CONV[ndim](1, 4, 3, padding=1, bias=False)
        self.norm = NORM[ndim](4)
        self.twice = CONV[ndim](4, 4, 3, padding=1, groups=2, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(8, 3, bias=False)

    def forward(self, x):
        pool, mean = (F.max_pool2d, F.avg_pool2d) if self.ndim == 2 else (F.max_pool3d, F.avg_pool3d)
        y = torch.relu(self.norm(self.first(x)))
        y = self.relu(self.twice(y)) + y
        y += self.twice(F.pad(pool(y, 3, stride=1), [1, 1] * self.ndim))
        y = torch.cat([mean(y, 2), pool(y, 2)], dim=1).mul(1.5).relu_()
        y = y.transpose(2, 3).permute(0, 1, *range(self.ndim + 1, 1, -1))
        return self.dense(self.dropout(y.flatten(2).mean(-1).squeeze().unsqueeze(0)))


def residual(ndim, dtype=torch.float64):
    torch.manual_seed(8)
    net = Residual(ndim)
    nn.init.uniform_(net.norm.weight, 0.5, 2.0)
    nn.init.uniform_(net.norm.running_var, 0.5, 2.0)
    nn.init.normal_(net.dense.weight, std=2.0)
    return net.to(dtype).eval()
