"""Draw how far a blanked window reaches into a network, layer by layer, and tabulate what has to be computed.

    python docs/figures/incremental_reach.py

writes incremental_reach.svg and incremental_reach.md into its own folder. Both follow from kernels, strides and
paddings alone (no network runs); a test makes them again and compares.
"""

from __future__ import annotations

import importlib
import sys
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))

from voxelwhy.explain._shared.receptive_fields import Field  # noqa: E402
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, styled  # noqa: E402

#: What is drawn: the paper's network and grid, its window, and one place of it.
NETWORK, SHAPE, CENTRE = "rieke2018", (193, 229, 193), 100
SIZE, STRIDE = 40, 20
#: What the table holds: network, grid, size and stride of the windows.
STUDIES = [
    ("rieke2018", (193, 229, 193), 40, 20),
    ("rieke2018", (193, 229, 193), 20, 10),
    ("korolev2017", (193, 229, 193), 40, 20),
    ("small_dataset", (91, 109, 91), 20, 10),
]


class Layer(NamedTuple):
    """A layer that changes the grid, or the dense end of the network."""

    name: str
    cells: tuple[int, ...]  # along each axis, of its output; () for a dense layer
    multiply_adds: int  # of all cells
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def reached(self, span, axis):
        """[first, end) of the cells along `axis` that the input cells [first, end) have a part in."""
        reach = (self.kernel - 1) * self.dilation
        first = max(0, ceil((span[0] + self.padding - reach) / self.stride))
        return first, min(self.cells[axis], (span[1] - 1 + self.padding) // self.stride + 1)


def layers_of(network, spatial_shape):
    """The layers of a network of voxelwhy that are a chain, in the order in which they run."""
    with torch.device("meta"):
        model = importlib.import_module(f"voxelwhy.networks.{network}").build(spatial_shape).eval()
        values, layers = torch.empty(1, 1, *spatial_shape), []
        for name, module in model.named_children():
            values = module(values)
            weights = prod(module.weight.shape[1:]) if isinstance(module, (nn.Conv3d, nn.Linear)) else 0
            work = weights * values[0].numel()
            if isinstance(module, nn.Linear):
                layers.append(Layer(name, (), work))
            elif hasattr(module, "kernel_size"):
                options = (getattr(module, key) for key in ("kernel_size", "stride", "padding", "dilation"))
                options = (value if isinstance(value, int) else value[0] for value in options)
                layers.append(Layer(name, tuple(values.shape[2:]), work, *options))
    return layers


def reach(layers, box):
    """What the box (one span an axis) reaches in each layer, itself first; None from the dense layers on."""
    found = [box]
    for layer in layers:
        box = tuple(layer.reached(span, axis) for axis, span in enumerate(box)) if layer.cells else None
        found.append(box)
    return found


def work(layers, box):
    """Multiply-adds that a window with this box needs: of the cells that it reaches, and of the whole dense end."""
    total = 0
    for layer, reached in zip(layers, reach(layers, box)[1:], strict=True):
        share = prod((b - a) / n for (a, b), n in zip(reached, layer.cells, strict=True)) if reached else 1
        total += layer.multiply_adds * share
    return total


def windows(length, size, stride):
    """The windows of `occlusion` along one axis."""
    return [(max(0, c - size // 2), min(length, c + size // 2)) for c in range(0, length, stride)]


def table():
    """Markdown: for each study the multiply-adds of the plain loop and of what the windows reach."""
    lines = [
        "| network | grid | size / stride | windows | one pass | all windows, one by one | reached part only "
        "| fewer by |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for network, shape, size, stride in STUDIES:
        layers = layers_of(network, shape)
        boxes = list(product(*(windows(length, size, stride) for length in shape)))
        whole = sum(layer.multiply_adds for layer in layers)
        plain, reached = whole * len(boxes), whole + sum(work(layers, box) for box in boxes)
        lines.append(
            f"| `{network}` | {' x '.join(map(str, shape))} | {size} / {stride} | {len(boxes):,} | {whole / 1e9:.1f} G "
            f"| {plain / 1e12:.1f} T | {reached / 1e12:.2f} T | {plain / reached:.0f}x |"
        )
    return "\n".join(lines) + "\n"


@styled
def draw():
    """The layers as rows of cells along y, each where its receptive field is centred, with what a window reaches."""
    layers = [layer for layer in layers_of(NETWORK, SHAPE) if layer.cells]
    box = tuple((CENTRE - SIZE // 2, CENTRE + SIZE // 2) for _ in SHAPE)
    rows = [("image", SHAPE, Field((0.0,), (1.0,)), box)]
    for layer, reached in zip(layers, reach(layers, box)[1:], strict=True):
        field = rows[-1][2].through(layer.kernel, layer.stride, layer.padding, layer.dilation)
        rows.append((layer.name, layer.cells, field, reached))
    fig, ax = new_figure(figsize=(7.6, 4.1))
    ax.set_position([0.11, 0.12, 0.89, 0.81])  # by hand: a layout engine's last bits follow from memory addresses
    for number, (_, cells, field, reached) in enumerate(rows):
        first, step = field.first[0], field.step[0]
        a, b = reached[1]
        share = prod((end - start) / n for (start, end), n in zip(reached, cells, strict=True))
        spans = [(0, cells[1], RULE), (a, b, SECOND if number == 0 else ACCENT)]
        for start, end, colour in spans:
            # So many cells that one could not tell them apart are one bar.
            ends = [(start, end)] if cells[1] > 40 else [(cell + 0.06, cell + 0.94) for cell in range(start, end)]
            bars = [(first + (a - 0.5) * step, (b - a) * step) for a, b in ends]
            ax.broken_barh(bars, (number - 0.34, 0.68), facecolors=colour, linewidth=0)
        said = "blanked" if number == 0 else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
        ax.text(234, number, said, va="center", color=SECOND if number == 0 else ACCENT, fontsize=8, fontweight="bold")
        ax.text(268, number, " x ".join(map(str, cells)), va="center", color=MUTED, fontsize=8)
    for place, heading in ((234, "computed"), (268, "of the cells")):
        ax.text(place, -0.75, heading, fontsize=8, color=INK)
    names = [name for name, *_ in rows]
    ax.set(yticks=range(len(rows)), yticklabels=names, xlim=(-3, 315), ylim=(len(rows) - 0.4, -1.1))
    ax.set_xticks(range(0, SHAPE[1], 20))
    ax.set_xlabel("y, voxels of the image", loc="left")
    ax.set_title(f"What a window of {SIZE} voxels reaches in {NETWORK}, along y")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return fig


def main():
    """Write picture and table into the folder of this file."""
    write_picture(HERE / "incremental_reach.svg")
    (HERE / "incremental_reach.md").write_text(table())


def write_picture(path):
    """Save the figure; the same bytes each time."""
    styled(draw().savefig)(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
