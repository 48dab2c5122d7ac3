"""Networks as torch.export writes them."""

from __future__ import annotations

import torch

from helpers.heatmap_cases import picture

DIM = torch.export.Dim
BATCHES = {
    "one": (1, None),
    "three": (3, None),
    "free": (2, ({0: DIM.DYNAMIC},)),
    "one to four": (2, ({0: DIM("n", min=1, max=4)},)),
    "two to four": (2, ({0: DIM("n", min=2, max=4)},)),
    "three to five": (3, ({0: DIM("n", min=3, max=5)},)),
}


def export(net, axes, batch="one"):
    count, dynamic = BATCHES[batch]
    images = picture(axes)[None].repeat(count, *[1] * (axes + 1))
    return torch.export.export(net, (images,), dynamic_shapes=dynamic)
