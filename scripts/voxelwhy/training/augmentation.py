"""Random augmentation of training scans by MONAI's transforms: mirroring, shift and contrast."""

from __future__ import annotations

import numpy as np
import torch

from voxelwhy.errors import ConfigError

#: Channels whose values are scanner intensities. The values of others (a Jacobian, a probability) have a unit, so their
#: contrast is not changed.
INTENSITIES = ("t1",)


class Augmentation:
    """Random changes of normalised scans, drawn separately for each scan and epoch.

    Parameters
    ----------
    settings : dict
        `training.augmentation` of a study; each key is optional. `flip` is the probability that left and right are
        exchanged, at the plane x = 0 of the template. `shift_mm` is the largest shift along each axis: shifts are
        uniform between its negative and itself, interpolated linearly, and padded with 0. `intensity` is the SD of the
        logarithm of a factor, normally distributed, by which the intensities of a scan are multiplied. In a normalised
        scan 0 is the mean (of each voxel over the training scans, or of the scan), so the factor changes the contrast.
        Mirroring and shift are applied first, then contrast.
    affine : 4 x 4 array of the (cropped) volumes, RAS: the first axis runs from left to right.
    shape : number of voxels along each axis of the volumes.
    channels : names of the channels of an image.

    Raises
    ------
    ConfigError : the shift may move everything out of the volume.
    """

    def __init__(self, settings, affine, shape, channels=INTENSITIES):
        self.flip, self.intensity = settings.get("flip", 0), settings.get("intensity", 0)
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
        self.shift = settings.get("shift_mm", 0) / voxel_mm
        if (self.shift >= shape).any():
            raise ConfigError(
                "training.augmentation.shift_mm may move everything out of the volume",
                found=settings["shift_mm"],
                allowed=f"less than {min(shape * voxel_mm):g} mm, the shortest edge of the network's input",
            )
        # Flipping reverses the first axis. If the centre of the volume is not at x = 0, a shift by twice that distance
        # is needed too.
        middle = affine[0, :3] @ (np.array(shape) - 1) / 2 + affine[0, 3]
        self.off_centre = -2 * middle / affine[0, 0]
        self.intensities = [number for number, name in enumerate(channels) if name in INTENSITIES]

    @classmethod
    def of(cls, settings, volumes):
        """Return the augmentation for training on these volumes, or None if the settings ask for none."""
        if not any(settings.values()):
            return None
        affine = volumes.grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in volumes.box]
        return cls(settings, affine, volumes.shape, volumes.channels)

    def __call__(self, image, seed):
        """Return the image (channels, x, y, z), float32, changed at random by `seed` (of numpy's default_rng)."""
        # Imported here because it takes a second to load, and most trainings use no augmentation.
        from monai.transforms import Affine, Flip, ScaleIntensity

        rng = np.random.default_rng(seed)
        mirrored, where, contrast = rng.random() < self.flip, rng.uniform(-1, 1, 3), rng.standard_normal()
        image, shift = torch.as_tensor(image), self.shift * where
        if mirrored:
            image = Flip(spatial_axis=0)(image)
            shift[0] += self.off_centre
        if np.abs(shift).max() > 1e-6:
            # MONAI's transform maps output to input voxels, hence the minus.
            move = Affine(translate_params=tuple(-shift), mode="bilinear", padding_mode="zeros", image_only=True)
            image = move(image)
        image = torch.as_tensor(image).clone()
        if self.intensity and self.intensities:
            scale = ScaleIntensity(minv=None, maxv=None, factor=float(np.exp(self.intensity * contrast)) - 1)
            image[self.intensities] = torch.as_tensor(scale(image[self.intensities]))
        return image.as_subclass(torch.Tensor)

    def batch(self, images, indices, stream):
        """Return the augmented images (n, channels, x, y, z) of the scans `indices`, seeded by `stream` and scan."""
        seeds = [[stream, int(index)] for index in indices]
        return torch.stack([self(image, seed) for image, seed in zip(images, seeds, strict=True)])
