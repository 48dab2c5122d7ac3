"""What a result was made with: versions of the libraries that carry the numbers."""

from __future__ import annotations

import platform
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
    """Versions of Python and the named distributions as a plain dict; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
