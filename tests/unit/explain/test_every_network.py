"""Every method works on the networks for few scans: `compact`, the default above 2 mm, and `sfcn`."""

import numpy as np
import pytest
import torch

from voxelwhy import registry
from voxelwhy.networks.build import build_network

SHAPE = (33, 35, 34)
OPTIONS = {
    "occlusion": {"size": 12, "stride": 12, "positive_only": False},
    "area_occlusion": {"positive_only": False},
    "integrated_gradients": {"n_steps": 2},
    "smoothgrad": {"n_samples": 2},
}


@pytest.mark.parametrize(("network", "options"), [("compact", {"first_pool": 2}), ("sfcn", {})])
@pytest.mark.parametrize("method", registry.METHODS)
def test_a_method_explains_a_network_and_tells_its_classes_apart(network, options, method):
    torch.manual_seed(0)
    model, image = build_network(network, SHAPE, **options).eval(), torch.randn(1, *SHAPE)
    labels = np.zeros(SHAPE, int)
    labels[4:20, 4:20, 4:20], labels[20:30, 4:20, 4:20] = 1, 2
    explain = getattr(registry.load(registry.METHODS, method, "method"), method)
    areas = [labels] if method == "area_occlusion" else []
    maps = [explain(model, image, *areas, target_class=k, **OPTIONS.get(method, {})) for k in (0, 1)]
    for relevance in maps:
        assert relevance.shape == SHAPE and np.isfinite(relevance).all()
    if method in ("occlusion", "area_occlusion"):  # the two probabilities add up to 1
        np.testing.assert_allclose(maps[0], -maps[1], atol=1e-6)
    assert np.abs(maps[0]).max() > 0 or np.abs(maps[1]).max() > 0
