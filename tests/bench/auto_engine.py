"""
`python -m bench.auto_engine [voxels] [names]`: does engine="auto" take the faster engine for networks of several kinds?

Prints processor seconds of one thread: the plain engine, the first call of "auto" (with torch.export, where it is
worth it, and its import), the second, and the incremental engine, for windows of a quarter and steps of an eighth of
the side. The targets: the second call is at most 5 % slower than the plain engine, and so is the first.
"""

from __future__ import annotations

import subprocess
import sys
import time

import torch
from torch import nn

from helpers.block_networks import Dense, Excited, Residual, head
from voxelwhy.explain.occlusion import occlusion

MOST = 1.05


def _plain(norm, widths):
    pairs = zip((1, *widths), widths, strict=False)
    layers = [(nn.Conv3d(a, b, 3, padding=1), norm(b), nn.ReLU(), nn.MaxPool3d(2)) for a, b in pairs]
    return [*(layer for group in layers for layer in group), *head(widths[-1])]


NETWORKS = {
    "plain": lambda: _plain(nn.BatchNorm3d, (8, 16, 32)),
    "group normalisation": lambda: _plain(lambda channels: nn.GroupNorm(4, channels), (16, 32, 64)),
    "residual": lambda: [nn.Conv3d(1, 8, 3, padding=1), Residual(8, 16, 2), Residual(16, 32, 2), *head(32)],
    "dense": lambda: [nn.Conv3d(1, 8, 3, padding=1), Dense(8, 8, 4), nn.AvgPool3d(2), Dense(40, 8, 4), *head(72)],
    "squeeze and excitation": lambda: [nn.Conv3d(1, 8, 4, 4), *[Excited(8) for _ in range(40)], *head(8)],
}


def measure(name, side):
    """Seconds of the plain engine, of the first and second call of "auto", and of the incremental engine."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, image = nn.Sequential(*NETWORKS[name]()).eval(), torch.randn(side, side, side)

    def seconds(engine):
        started = time.process_time()
        occlusion(net, image, 1, size=side // 4, stride=side // 8, engine=engine, positive_only=False)
        return time.process_time() - started

    seconds("plain")  # pages and caches are warm, and it is known whether the network mixes images
    first = seconds("auto")
    plain, second = (min(times) for times in zip(*((seconds("plain"), seconds("auto")) for _ in range(3)), strict=True))
    return plain, first, second, seconds("incremental")


def main(side=32, *names):
    """Print one line for each network, each measured in a process of its own."""
    print("network                  plain, s  first auto, s  second auto, s  incremental, s  met")
    for name in names or NETWORKS:
        code = f"from bench.auto_engine import measure; print(*measure({name!r}, {side}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        plain, first, second, incremental = map(float, done.stdout.split())
        met = "yes" if max(first, second) <= MOST * plain else "no"
        print(f"{name:24} {plain:8.2f}  {first:13.2f}  {second:14.2f}  {incremental:14.2f}  {met}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
