"""Registered scans as a network sees them: read through memory maps, masked, cropped, normalised."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.channels import channel_path
from voxelwhy.io.images import Grid

#: A voxel whose training SD is below this share of the median SD carries no contrast, only z-scores that explode.
LEAST_SPREAD = 0.01
KINDS = ("voxelwise", "voxelwise_sd", "scan", "none")


def brain_box(mask):
    """The smallest box that holds `mask` (3-D bool), as three slices."""
    return tuple(
        slice(int(kept[0]), int(kept[-1]) + 1)
        for kept in (np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
    )


def whole_box(shape):
    """The box that holds a whole grid of `shape`."""
    return tuple(slice(0, int(n)) for n in shape)


def registered_paths(selected, channels=("t1",)):
    """Paths of the registered scans by scan_id, from a table by tables.SELECTED; `channels` lie beside them.

    Raises
    ------
    InputError : a file is gone, as in a study that keeps its results only.
    """
    paths = dict(zip(selected["scan_id"], selected["t1"], strict=True))
    needed = [channel_path(path, channel) for path in paths.values() for channel in channels]
    gone = [path for path in needed if not path.exists()]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(needed)} registered images are gone, and this step needs them",
            file=gone[0],
            hint="with `keep: results` they are removed once the report is there; to register them again, add "
            "--forcerun register_scan register_batch to the command",
        )
    return paths


def counted_voxels(brain, network_mask):
    """The voxels whose relevance counts: inside the brain and what the network sees; two mask images, a bool array."""
    return (np.asarray(brain.dataobj) > 0) & (np.asarray(network_mask.dataobj) > 0)


class Volumes:
    """Registered scans by index; values outside the mask are 0.

    Parameters
    ----------
    paths : sequence of path
        Registered scans, NIfTI files on one grid; of uncompressed ones only the box is read, through a memory map.
    mask : 3-D bool array
        The voxels on that grid that the network sees.
    crop : "brain" or "none"
        Whether volumes are cut to the smallest box around the mask.
    grid : Grid, optional
        Refuse (ShapeError) a scan on any other grid.
    channels : sequence of str
        What is read of each scan, of `channels.CHANNELS`; all but its intensities lie beside it.
    """

    def __init__(self, paths, mask, *, crop="none", grid=None, channels=("t1",)):
        self.paths, self.channels = [str(path) for path in paths], tuple(channels)
        self.box = brain_box(mask) if crop == "brain" else whole_box(mask.shape)
        self.mask = np.ascontiguousarray(mask[self.box])
        self.grid_shape, self.grid = mask.shape, grid

    @property
    def shape(self):
        """Shape of each volume, after the crop, without its channels."""
        return self.mask.shape

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        """Volume `index` as float32, (channels, x, y, z), masked and cropped."""
        return np.stack([self._read(channel_path(self.paths[index], channel)) for channel in self.channels])

    def _read(self, path):
        image = nib.load(path)
        if self.grid is not None:
            self.grid.require(Grid.of(image), path)
        header = image.dataobj
        values = np.asarray(header.get_unscaled()[self.box], dtype=np.float32)
        if header.slope != 1 or header.inter != 0:
            values = values * np.float32(header.slope) + np.float32(header.inter)
        return np.where(self.mask, values, np.float32(0))

    def uncrop(self, volume):
        """Put a cropped map (x, y, z) back into its place on the grid, 0 elsewhere."""
        whole = np.zeros(self.grid_shape, dtype=volume.dtype)
        whole[self.box] = volume
        return whole


def inverse_spread(spread, mask):
    """1 / SD of each voxel of one channel as float32; 0 outside the mask and where there is hardly any spread."""
    inside = spread[mask & (spread > 0)]
    least = LEAST_SPREAD * np.median(inside) if inside.size else np.inf
    with np.errstate(divide="ignore"):
        return np.where(mask & (spread > least), 1 / spread, 0.0).astype(np.float32)


def _standardised(volume, mask):
    inside = volume[mask]
    return np.where(mask, (volume - inside.mean()) / max(inside.std(), 1e-6), np.float32(0)).astype(np.float32)


@dataclass
class Normaliser:
    """How intensities are made comparable, learnt from training scans only.

    `voxelwise` (the paper): every voxel to mean 0 and SD 1 over the training scans; a voxel with hardly any spread
    becomes 0. `voxelwise_sd`: every voxel divided by that SD, no mean taken off. `scan`: every scan to mean 0 and SD 1
    inside the mask. `none`: as they are. Outside the mask all is 0. Each channel by itself.
    """

    kind: str
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    @classmethod
    def fit(cls, kind, volumes, indices):
        """Learn from the volumes of `indices`, one at a time (Welford): memory does not grow with their number."""
        if kind not in KINDS:
            raise ConfigError("there is no normalisation of that name", found=kind, allowed=KINDS)
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
        """The normaliser that the card of a model holds, its arrays as tensors or as arrays."""
        return cls(
            **{name: part if part is None or name == "kind" else np.asarray(part) for name, part in stored.items()}
        )

    def __call__(self, volume, mask):
        """The normalised volume (channels, x, y, z), float32."""
        if self.kind == "voxelwise":
            return (volume - self.mean) * self.scale
        if self.kind == "voxelwise_sd":
            return volume * self.scale
        if self.kind == "scan":
            return np.stack([_standardised(channel, mask) for channel in volume])
        return volume
