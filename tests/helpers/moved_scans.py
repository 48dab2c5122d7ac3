"""The template as a scan: moved, deformed, on another lattice."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from helpers.templates import template_on


def _true_affine():
    turn, nod = np.deg2rad(8), np.deg2rad(-5)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.06, 0.95, 1.03])
    affine[:3, 3] = 6, -9, 5
    return affine


TRUE_AFFINE = _true_affine()


def moved_scan(affine, voxel_mm=4.0, displacement=None):
    """The template carried by x -> affine @ x (template to scan, mm) on another lattice: data, affine."""
    t1 = template_on(3)[0]
    shape = np.ceil(np.array([216, 260, 220]) / voxel_mm).astype(int)
    grid = np.diag([voxel_mm] * 3 + [1.0])
    grid[:3, 3] = -108, -148, -90
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ grid[:3, :3] + grid[:3, 3]
    points = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    if displacement is not None:
        wanted = points
        for _ in range(30):  # fixed point of x = y - u(x): the inverse of x -> x + u(x)
            points = wanted - displacement(points)
    voxels = np.moveaxis(points - t1.affine[:3, 3], -1, 0) / 3
    return 700 * map_coordinates(t1.get_fdata(), voxels, order=1), grid
