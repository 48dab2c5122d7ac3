"""ANTs as `antsRegistrationSyNQuick.sh` calls it: the arguments of that script, with one thread and a fixed seed."""

from __future__ import annotations

import os

# ITK reads this once, at first use. One thread is reproducible bit for bit; two threads are not.
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

import ants
from ants.internal import get_pointer_string

from voxelwhy.errors import ConfigError

#: Our names for the script's `-t r`, `-t a` and `-t s`, with the stages that each of them runs. `syn_cc` is `-t s` with
#: the metric that the script uses for its SyN stage in reproducible mode (`-y 1`).
STAGES = {
    "rigid": ("Rigid",),
    "affine": ("Rigid", "Affine"),
    "syn_quick": ("Rigid", "Affine", "SyN"),
    "syn_cc": ("Rigid", "Affine", "SyN"),
}
#: The script's `-e`. Without it ITK seeds from the clock.
SEED = 1
# What SyN maximises: mutual information with 32 bins, or local correlation within a radius of 2 voxels.
_SYN_METRICS = {"syn_quick": "MI[{fixed},{moving},1,32]", "syn_cc": "CC[{fixed},{moving},1,2]"}
# (convergence, shrink factors, smoothing) of the linear and the SyN stages. The second row applies to a fixed image
# with more than 256 voxels along an axis.
_LINEAR = (
    ("[1000x500x250x0,1e-6,10]", "8x4x2x1", "3x2x1x0vox"),
    ("[1000x500x250x0,1e-6,10]", "12x8x4x2", "4x3x2x1vox"),
)
_SYN = (
    ("[100x70x50x0,1e-6,10]", "8x4x2x1", "3x2x1x0vox"),
    ("[100x100x70x50x0,1e-6,10]", "10x6x4x2x1", "5x3x2x1x0vox"),
)


def require_transform(name):
    """Raise ConfigError, listing the available transforms, unless `name` is one of them."""
    if name not in STAGES:
        raise ConfigError("unknown transform", column="registration: transform", found=name, allowed=list(STAGES))


def script_arguments(fixed, moving, transform, output, *, large=False):
    """Return the arguments that `antsRegistrationSyNQuick.sh -d 3 -t r|a|s -e 1` passes to antsRegistration.

    Parameters
    ----------
    fixed, moving : str; file names, or the pointer strings of ANTs images
    transform : "rigid", "affine", "syn_quick" or "syn_cc"
    output : str; the value of `--output`: a prefix, or "[prefix,warped,inverse]"
    large : bool; whether the fixed image has more than 256 voxels along an axis (the script then uses other factors)

    Returns
    -------
    list of str

    Raises
    ------
    ConfigError : `transform` is unknown.

    References
    ----------
    ANTsX/ANTs, Scripts/antsRegistrationSyNQuick.sh (its defaults: double precision, 32 bins, no histogram matching,
    intensities winsorized at 0.5 and 99.5 %); Avants 2011, NeuroImage 54:2033; on local correlation Avants 2008, Med
    Image Anal 12:26.
    """
    require_transform(transform)
    arguments = ["--random-seed", str(SEED), "--dimensionality", "3", "--float", "0"]
    arguments += ["--collapse-output-transforms", "1", "--output", output, "--interpolation", "Linear"]
    arguments += ["--use-histogram-matching", "0", "--winsorize-image-intensities", "[0.005,0.995]"]
    arguments += ["--initial-moving-transform", f"[{fixed},{moving},1]"]
    for stage in STAGES[transform]:
        syn = stage == "SyN"
        convergence, shrink, smoothing = (_SYN if syn else _LINEAR)[int(large)]
        metric = _SYN_METRICS[transform] if syn else "MI[{fixed},{moving},1,32,Regular,0.25]"
        arguments += ["--transform", "SyN[0.2,3,0]" if syn else f"{stage}[0.1]"]
        arguments += ["--metric", metric.format(fixed=fixed, moving=moving)]
        arguments += ["--convergence", convergence, "--shrink-factors", shrink, "--smoothing-sigmas", smoothing]
    return arguments


def register(fixed, moving, transform, prefix):
    """Register `moving` to `fixed` and write the transforms to `prefix` (0GenericAffine.mat, 1Warp.nii.gz, …).

    Returns
    -------
    ANTs image (double): `moving` on the grid of `fixed`, with its own intensities, linearly interpolated

    Raises
    ------
    RuntimeError : ANTs failed.
    """
    # ANTs receives memory addresses. If the pixel type does not match the requested precision, or an image is
    # garbage-collected during the run, the process dies without a message. So both are cloned and kept in variables.
    fixed, moving = fixed.clone("double"), moving.clone("double")
    warped = fixed.clone()
    # The script also requests the template in the space of the scan, which is not needed here.
    output = f"[{prefix},{get_pointer_string(warped)}]"
    arguments = script_arguments(
        get_pointer_string(fixed), get_pointer_string(moving), transform, output, large=max(fixed.shape) > 256
    )
    ants.registration(arguments, None)
    return warped


def correct_bias(image):
    """Correct the bias field by N4 as antsBrainExtraction.sh does: shrink factor 4, 4 x 50 iterations, splines 200 mm.

    The mask holds the voxels above the mean of the image, which is the initial threshold of `ants.get_mask`. The scale
    of the intensities is preserved, except for a slight drift of the spline fit. N4 takes logarithms: an image with
    negative values is shifted to begin at 0, and shifted back.

    References
    ----------
    Tustison 2010, IEEE Trans Med Imaging 29:1310.
    """
    values = image.numpy()
    if (lowest := float(values.min())) < 0:
        return correct_bias(image.new_image_like(values - lowest)) + lowest
    mask = image.new_image_like((values > values.mean()).astype("float32"))
    convergence = {"iters": [50] * 4, "tol": 1e-7}
    return ants.n4_bias_field_correction(image, mask=mask, shrink_factor=4, convergence=convergence, spline_param=200)


def to_ants(volume):
    """Convert a nibabel image to an ANTs image (float); raises ValueError for a sheared affine, which ANTs lacks."""
    volume.header.set_xyzt_units("mm", "sec")
    return ants.from_nibabel_nifti(volume)


def jacobian(fixed, warp_path):
    """Return the Jacobian determinant of a warp on the grid of `fixed`: local volume relative to the template."""
    return ants.create_jacobian_determinant_image(fixed, str(warp_path)).numpy()
