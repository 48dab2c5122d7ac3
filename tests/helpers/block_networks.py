"""Blocks of networks in which parts of an image spare much, such as residual ones, or little."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels, more, stride):
        super().__init__()
        self.one = nn.Sequential(nn.Conv3d(channels, more, 3, stride, 1, bias=False), nn.BatchNorm3d(more), nn.ReLU())
        self.two, self.short = nn.Conv3d(more, more, 3, padding=1), nn.Conv3d(channels, more, 1, stride)

    def forward(self, values):
        """The sum of both, rectified."""
        return (self.two(self.one(values)) + self.short(values)).relu_()


class Dense(nn.Module):
    """Convolutions, each of which reads the outputs of all before it."""

    def __init__(self, channels, more, depth):
        super().__init__()
        before = range(channels, channels + depth * more, more)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm3d(n), nn.ReLU(), nn.Conv3d(n, more, 3, padding=1)) for n in before
        )

    def forward(self, values):
        """All channels so far."""
        for layer in self.layers:
            values = torch.cat([values, layer(values)], dim=1)
        return values


class Excited(nn.Module):
    """A residual block whose channels are weighted by their means: the whole layer is needed at once."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.squeeze = nn.Conv3d(channels, channels, 3, padding=1), nn.Linear(channels, channels)

    def forward(self, values):
        """The sum of the image's layer and the weighted one."""
        found = self.conv(values).relu()
        return values + found * self.squeeze(found.mean((2, 3, 4))).sigmoid()[..., None, None, None]


def head(channels):
    """Layers that turn a layer with so many channels into two logits."""
    return nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, 2)
