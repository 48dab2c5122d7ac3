"""Atlases that nilearn fetches: their label images and region names in one form.

nilearn caches downloads, so network access is needed only once. Each fetcher returns `maps` (a path or an image) and
`lut`, a table whose `index` holds the values of the image; its lists of labels are not in the order of these values.
"""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from voxelwhy.config.atlas_names import FETCHED, PACKAGED
from voxelwhy.errors import InputError

log = logging.getLogger(__name__)

# How atlases write left and right: "Left Hippocampus", "L G_and_S_frontomargin"; "GM Hippocampus subiculum L";
# "7Networks_LH_Vis_1".
_SIDES = (
    re.compile(r"^(?P<side>L|R)(?:eft|ight)?\s+(?P<rest>.+)$"),
    re.compile(r"^(?P<rest>.+?)[\s_](?P<side>L|R)$"),
    re.compile(r"^(?P<before>.+)_(?P<side>L|R)H_(?P<after>.+)$"),
)


def fetch_atlas(name):
    """Fetch an atlas of `atlas_names.FETCHED`, or read it from nilearn's cache.

    Parameters
    ----------
    name : str

    Returns
    -------
    maps : path of a label image, or a nibabel image
    regions : DataFrame with region_id (the values of the image, without background) and region (see `tidy_name`)

    Raises
    ------
    InputError : nilearn cannot fetch the atlas (usually for lack of network access), or the files are not as expected.

    References
    ----------
    Listed by atlas in `report.atlas_works`.
    """
    from nilearn import datasets

    spec = FETCHED[name]
    try:
        with warnings.catch_warnings():
            # nilearn warns about regions without voxels and labels without names; `load_atlas` handles both.
            warnings.filterwarnings("ignore", message=r"\s*The following regions are present")
            bunch = getattr(datasets, spec.fetcher)(**spec.arguments, verbose=0)
        maps, table = (bunch["maps"], bunch["lut"]) if name != "juelich" else _read_fsl(bunch["filename"])
        regions = pd.DataFrame({"region_id": table["index"].astype(int), "region": table["name"].astype(str)})
    except Exception as error:  # requests, urllib, nilearn and parsers each raise their own kinds
        raise InputError(
            f"the atlas {name} cannot be fetched (network access is needed once)",
            found=f"{type(error).__name__}: {error}"[:200],
            allowed=f"without network access: {', '.join(PACKAGED)}, or your own with atlas.image and atlas.table",
            hint=f"on a machine with network access run python -c 'from nilearn.datasets import {spec.fetcher} as "
            f"fetch; fetch({_written(spec.arguments)})' and copy what it writes to ~/nilearn_data to one of "
            f"{', '.join(datasets.get_data_dirs())} here (set NILEARN_DATA for another folder); "
            "delete any damaged file there first",
        ) from error
    regions = regions[regions["region_id"] != 0].reset_index(drop=True)
    return maps, regions.assign(region=_unique([tidy_name(r) for r in regions["region"]], regions["region_id"]))


def tidy_name(name):
    """Return a region's name as in the tables: its side as the ending _L or _R, no spaces, and no bare numbers.

    Examples
    --------
    >>> tidy_name("Left Inferior Frontal Gyrus, pars triangularis")
    'Inferior_Frontal_Gyrus_pars_triangularis_L'
    >>> tidy_name("7Networks_RH_Vis_1"), tidy_name("12")
    ('7Networks_Vis_1_R', 'cluster_12')
    """
    name, side = str(name).strip(), ""
    for pattern in _SIDES:
        if match := pattern.match(name):
            part = match.groupdict()
            name, side = part.get("rest") or f"{part['before']}_{part['after']}", f"_{part['side']}"
            break
    if name.isdecimal():
        name = f"cluster_{name}"
    return re.sub(r"[^\w.()'/+-]+", "_", name).strip("_") + side


def _read_fsl(image):
    """Return the label image and table as FSL distributes them, without nilearn's changes.

    For the Juelich atlas, nilearn either merges left and right or splits regions again at the midline. Its split
    assigns names in the order of the values in the image, so that one missing value would shift all later names.
    """
    labels = ElementTree.parse(Path(image).parents[1] / "Juelich.xml").findall(".//label")
    rows = [(int(label.get("index")) + 1, label.text.strip()) for label in labels]
    return image, pd.DataFrame(rows, columns=["index", "name"])


def _unique(names, numbers):
    """Return the names, with the label's number inserted before the side if a name stands for several labels."""
    twice = {name for name in names if names.count(name) > 1}
    return [
        re.sub(r"(_[LR])?$", rf"_{number}\1", name, count=1) if name in twice else name
        for name, number in zip(names, numbers, strict=True)
    ]


def _written(arguments):
    return ", ".join(f"{key}={value!r}".replace("'", '"') for key, value in arguments.items())
