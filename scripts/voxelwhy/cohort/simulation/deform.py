"""Smooth invertible deformations: flows of stationary velocity fields, Jacobians, fields of a given divergence.

Points are (3, n) arrays in mm; a velocity or displacement field is (3, *grid.shape) in mm on an axis-aligned `Grid`.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy import ndimage


def sample(volume, grid, points, *, order=1, mode="nearest", fill=0.0):
    """Interpolate `volume` on the axis-aligned `grid` at points (3, n) in mm; returns float32 (n,)."""
    origin = grid.affine[:3, 3].astype(np.float32)[:, None]
    voxel = np.diag(grid.affine)[:3].astype(np.float32)[:, None]
    where = (points.astype(np.float32, copy=False) - origin) / voxel
    return ndimage.map_coordinates(volume, where, order=order, output=np.float32, mode=mode, cval=fill, prefilter=False)


def grid_points(grid, inside=None):
    """Return the voxel centres of an axis-aligned grid in mm, (3, n) float32; only those in `inside`, if given."""
    index = np.indices(grid.shape).reshape(3, -1) if inside is None else np.stack(np.nonzero(inside))
    points = index * np.diag(grid.affine)[:3, None] + grid.affine[:3, 3][:, None]
    return points.astype(np.float32)


def exponential_map(velocity, grid, points, *, steps=2, scale=1.0):
    """The position of each point after following the flow of a stationary velocity field for the time `scale`.

    The points themselves are integrated by the classical Runge-Kutta scheme. Nothing is resampled between the steps,
    so the only error is that of the scheme, and exp(-v) is the inverse of exp(v) up to this error.

    Parameters
    ----------
    velocity : float32 array, (3, *grid.shape)
        Velocity in mm per unit of time, interpolated linearly and constant beyond the edge of the grid.
    points : array, (3, n)
        Start points, mm.
    steps : int
        Number of steps; two are enough for the fields of this package (see the tests).
    scale : float
        Duration; a negative value gives the inverse.

    Returns
    -------
    points : float32 array, (3, n), mm

    References
    ----------
    Arsigny 2006 (log-Euclidean framework for diffeomorphisms); Ashburner 2007 (DARTEL).
    """
    points = np.asarray(points, dtype=np.float32)
    step = np.float32(scale / steps)

    def speed(at):
        return np.stack([sample(component, grid, at) for component in velocity])

    for _ in range(steps):
        first = speed(points)
        second = speed(points + step / 2 * first)
        third = speed(points + step / 2 * second)
        fourth = speed(points + step * third)
        points = points + step / 6 * (first + 2 * second + 2 * third + fourth)
    return points


def jacobian_determinant(displacement, grid):
    """Relative volume of each deformed voxel, from central differences of a displacement (3, *shape) in mm."""
    voxel = np.diag(grid.affine)[:3]
    gradient = [[np.gradient(displacement[row], voxel[col], axis=col) for col in range(3)] for row in range(3)]
    (a, b, c), (d, e, f), (g, h, i) = gradient
    a, e, i = a + 1, e + 1, i + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def flow_jacobian(velocity, velocity_grid, grid, inside, *, steps=2, scale=1.0):
    """Jacobian determinant of exp(scale * velocity) on `grid`; 1 where `inside` is false.

    `inside` is dilated by two voxels before the integration, so that the differences at its rim are correct.
    """
    result = np.ones(grid.shape, dtype=np.float32)
    wide = ndimage.binary_dilation(inside, iterations=2)
    found = ndimage.find_objects(wide.astype(np.int8))
    if not found:
        return result
    points = grid_points(grid, wide)
    displacement = np.zeros((3, *grid.shape), dtype=np.float32)
    displacement[:, wide] = exponential_map(velocity, velocity_grid, points, steps=steps, scale=scale) - points
    box = found[0]
    result[box] = np.where(inside[box], jacobian_determinant(displacement[:, *box], grid), 1.0)
    return result


def velocity_of_divergence(divergence, voxel_mm, *, padding_mm=40.0):
    """The curl-free velocity field with a given divergence: the gradient of the solution of a Poisson equation.

    Parameters
    ----------
    divergence : array, (nx, ny, nz)
        Relative change of volume per unit of time. Its sum should be 0; a remaining mean is subtracted.
    voxel_mm : float
        Voxel size, mm, the same along each axis.
    padding_mm : float
        Margin of zeros that keeps the periodic copies of the solution away.

    Returns
    -------
    velocity : float32 array, (3, nx, ny, nz), mm per unit of time
    """
    margin = round(padding_mm / voxel_mm)
    shape = [scipy.fft.next_fast_len(n + margin, real=True) for n in divergence.shape]
    spectrum = scipy.fft.rfftn(np.asarray(divergence, dtype=np.float32), shape)
    waves = [2 * np.pi * scipy.fft.fftfreq(n, voxel_mm) for n in shape[:2]]
    waves.append(2 * np.pi * scipy.fft.rfftfreq(shape[2], voxel_mm))
    waves = np.meshgrid(*[wave.astype(np.float32) for wave in waves], indexing="ij", sparse=True)
    squared = sum(wave**2 for wave in waves)
    squared[0, 0, 0] = 1.0
    spectrum[0, 0, 0] = 0.0
    potential = -spectrum / squared
    crop = tuple(slice(0, n) for n in divergence.shape)
    fields = [scipy.fft.irfftn(1j * wave * potential, shape)[crop] for wave in waves]
    return np.stack(fields).astype(np.float32)
