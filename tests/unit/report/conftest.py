"""A small brain with maps, as files, that figures are drawn of."""

from __future__ import annotations

import numpy as np
import pytest

from voxelwhy.io.images import Grid, save_image


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """A ball of brain on a 6 mm grid, two maps, and a planted change, as files."""
    folder = tmp_path_factory.mktemp("brain")
    grid = Grid.icbm(6)
    axes = [grid.affine[i, 3] + grid.affine[i, i] * np.arange(grid.shape[i]) for i in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = x**2 + (y + 18) ** 2 + (z - 18) ** 2 < 66**2
    spot = np.exp(-((abs(x) - 26) ** 2 + (y + 20) ** 2 + (z + 16) ** 2) / 200) * inside
    noise = np.random.default_rng(0).normal(size=grid.shape) * 0.05
    arrays = {
        "t1": inside * (1 + 0.3 * np.sin(x / 9)),
        "occlusion": spot + noise,
        "grad_cam": np.abs(noise),
        "log_jacobian": -0.3 * spot,
    }
    for name, values in arrays.items():
        save_image(folder / f"{name}.nii.gz", values.astype(np.float32), grid.affine)
    paths = {name: folder / f"{name}.nii.gz" for name in arrays}
    return {"grid": grid, "inside": inside, "arrays": arrays, "paths": paths}
