"""Arrays in .npz files from elsewhere, read without running any code in them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from voxelwhy.errors import InputError


def read_arrays(path):
    """Read the arrays in a .npz file.

    Returns
    -------
    dict of str to array, numbers only

    Raises
    ------
    InputError : the file does not exist or is not a .npz file; an array holds Python objects, which could run code.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("the file does not exist", file=path)
    try:
        # numpy stops at the last number of an array, before the checksum.
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise ValueError(f"the checksum of {damaged} does not hold")
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except Exception as error:  # numpy, zip and zlib each raise their own kinds
        raise InputError(
            "the file cannot be read as arrays (no code in it was run)",
            file=path,
            found=f"{type(error).__name__}: {error}",
            allowed="a .npz file of arrays of numbers",
            hint="save it with numpy.savez_compressed(FILE, name=array)",
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            kind = getattr(array, "dtype", type(array).__name__)
            raise InputError(
                "the file holds something other than arrays of numbers",
                file=path,
                found=f"{name}: {kind}",
                allowed="arrays of numbers",
            )
    return arrays
