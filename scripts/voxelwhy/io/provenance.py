"""Provenance of a result: versions of the libraries that its numbers depend on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "torch",
    "antspyx",
    "nilearn",
    "nibabel",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "snakemake",
)


def software_versions(names=LIBRARIES):
    """Return the versions of Python and the named distributions as a dict; those that are not installed are omitted."""
    versions = {"python": platform.python_version()}
    return versions | {name: found for name in names if (found := _version(name))}


@cache
def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
