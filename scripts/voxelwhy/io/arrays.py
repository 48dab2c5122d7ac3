"""Arrays in .npz files, as people pass them on. Nothing in a file is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxelwhy.errors import InputError


def read_arrays(path):
    """The arrays in a .npz file.

    Returns
    -------
    dict of str to array, numbers only

    Raises
    ------
    InputError : no such file; not a .npz file; objects among its arrays, which would have to be run to be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("the file does not exist", file=path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except Exception as error:  # numpy, zip and zlib each raise their own kinds
        raise InputError(
            "the file cannot be read as arrays, and was not run",
            file=path,
            found=f"{type(error).__name__}: {error}",
            allowed="a .npz file of arrays of numbers",
            hint="save it with numpy.savez_compressed(FILE, name=array)",
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            kind = getattr(array, "dtype", type(array).__name__)
            raise InputError(
                "the file holds something that is no array of numbers",
                file=path,
                found=f"{name}: {kind}",
                allowed="arrays of numbers",
            )
    return arrays
