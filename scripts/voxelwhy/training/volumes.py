"""Registered scans as a network sees them: read through memory maps, masked, cropped and normalised."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.channels import channel_path
from voxelwhy.io.images import Grid

#: A voxel whose training SD is below this share of the median SD has no contrast, and its z-scores would explode.
LEAST_SPREAD = 0.01
KINDS = ("voxelwise", "voxelwise_sd", "scan", "none")


def brain_box(mask):
    """Return the smallest box that contains `mask` (3-D bool), as three slices."""
    return tuple(
        slice(int(kept[0]), int(kept[-1]) + 1)
        for kept in (np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
    )


def whole_box(shape):
    """Return the box of a whole grid of `shape`."""
    return tuple(slice(0, int(n)) for n in shape)


def registered_paths(selected, channels=("t1",)):
    """Return the paths of the registered scans by scan_id, from a table by tables.SELECTED.

    Raises
    ------
    InputError : the file of one of `channels` no longer exists, as in a study with `keep: results`.
    """
    paths = dict(zip(selected["scan_id"], selected["t1"], strict=True))
    needed = [channel_path(path, channel) for path in paths.values() for channel in channels]
    gone = [path for path in needed if not path.exists()]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(needed)} registered images no longer exist, but this step needs them",
            file=gone[0],
            hint="with `keep: results` they are removed once the report is written; to register them again, add "
            "--forcerun register_scan register_batch to the command",
        )
    return paths


def counted_voxels(brain, network_mask):
    """Return the voxels whose relevance counts, inside both the brain mask and the network mask, as a bool array."""
    return (np.asarray(brain.dataobj) > 0) & (np.asarray(network_mask.dataobj) > 0)


class Volumes:
    """Registered scans by index, with values of 0 outside the mask.

    Parameters
    ----------
    paths : sequence of path
        Registered scans, NIfTI files on one grid. If they are uncompressed, only the box is read, by a memory map.
    mask : 3-D bool array
        The voxels on that grid that the network sees.
    crop : "brain" or "none"
        Whether volumes are cropped to the smallest box around the mask.
    grid : Grid, optional
        A scan on any other grid is refused (ShapeError).
    channels : sequence of str
        The images read for each scan, from `channels.CHANNELS`; all but the intensities are separate files in the
        scan's folder.
    """

    def __init__(self, paths, mask, *, crop="none", grid=None, channels=("t1",)):
        self.paths, self.channels = [str(path) for path in paths], tuple(channels)
        self.box = brain_box(mask) if crop == "brain" else whole_box(mask.shape)
        self.mask = np.ascontiguousarray(mask[self.box])
        self.grid_shape, self.grid = mask.shape, grid

    @property
    def shape(self):
        """Shape of each volume after cropping, without channels."""
        return self.mask.shape

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        """Return volume `index` as float32, (channels, x, y, z), masked and cropped."""
        return np.stack([self._read(channel_path(self.paths[index], channel)) for channel in self.channels])

    def _read(self, path):
        image = nib.load(path)
        if self.grid is not None:
            self.grid.require(Grid.of(image), path)
        header = image.dataobj
        # Files have their axes in the other order of memory: small integers are reordered faster than floats.
        values = np.ascontiguousarray(header.get_unscaled()[self.box]).astype(np.float32)
        if header.slope != 1 or header.inter != 0:
            values *= np.float32(header.slope)
            values += np.float32(header.inter)
        np.copyto(values, 0, where=~self.mask)
        return values

    def uncrop(self, volume):
        """Place a cropped map (x, y, z) back on the grid, with 0 elsewhere."""
        whole = np.zeros(self.grid_shape, dtype=volume.dtype)
        whole[self.box] = volume
        return whole


def inverse_spread(spread, mask):
    """Return 1 / SD of each voxel of one channel as float32; 0 outside the mask and where the SD is negligible."""
    inside = spread[mask & (spread > 0)]
    least = LEAST_SPREAD * np.median(inside) if inside.size else np.inf
    with np.errstate(divide="ignore"):
        return np.where(mask & (spread > least), 1 / spread, 0.0).astype(np.float32)


def _standardised(volume, mask):
    inside = volume[mask]
    values = volume - inside.mean()
    values /= max(inside.std(), 1e-6)
    np.copyto(values, 0, where=~mask)
    return values


@dataclass
class Normaliser:
    """Normalisation of intensities, fitted to training scans only, for each channel separately.

    `voxelwise` (the paper): every voxel has mean 0 and SD 1 over the training scans; a voxel with a negligible SD
    becomes 0. `voxelwise_sd`: every voxel is divided by that SD, and no mean is subtracted. `scan`: every scan has mean
    0 and SD 1 inside the mask. `none`: intensities are unchanged. Outside the mask, all values are 0.
    """

    kind: str
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    @classmethod
    def fit(cls, kind, volumes, indices):
        """Fit to the volumes of `indices`, one at a time (Welford), so that memory does not grow with their number."""
        if kind not in KINDS:
            raise ConfigError("unknown normalisation", found=kind, allowed=KINDS)
        if not kind.startswith("voxelwise"):
            return cls(kind)
        mean, squares = np.zeros((2, len(volumes.channels), *volumes.shape))
        for n, index in enumerate(indices, start=1):
            values = volumes[index].astype(np.float64)
            step = values - mean
            mean += step / n
            squares += step * (values - mean)
        spread = np.sqrt(squares / len(indices))
        scale = np.stack([inverse_spread(channel, volumes.mask) for channel in spread])
        return cls(kind, mean.astype(np.float32) if kind == "voxelwise" else None, scale)

    @classmethod
    def of_card(cls, stored):
        """Restore the normaliser from the card of a model, whose arrays may be tensors."""
        return cls(
            **{name: part if part is None or name == "kind" else np.asarray(part) for name, part in stored.items()}
        )

    def __call__(self, volume, mask):
        """Return the normalised volume (channels, x, y, z), float32."""
        if self.kind == "voxelwise":
            return (volume - self.mean) * self.scale
        if self.kind == "voxelwise_sd":
            return volume * self.scale
        if self.kind == "scan":
            return np.stack([_standardised(channel, mask) for channel in volume])
        return volume
