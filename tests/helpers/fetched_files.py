"""Small files laid out as nilearn keeps what it has fetched: its own fetchers read them, and nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.config.atlas_names import FETCHED

#: Millimetres of the first voxel; voxels are 4 mm wide.
ORIGIN = (-40, -30, -20)
HARVARD = ["Left Frontal Pole", "Right Frontal Pole", "Left Inferior Frontal Gyrus, pars triangularis "]
HARVARD += ["Right Inferior Frontal Gyrus, pars triangularis "]
SUBCORTICAL = [
    "Left Lateral Ventrical",
    "Left Hippocampus",
    "Brain-Stem",
    "Right Lateral Ventrical",
    "Right Hippocampus",
]
JUELICH = ["GM Amygdala_centromedial group L", "GM Amygdala_centromedial group R", "GM Gone L", "WM Callosal body"]
AAL = {2001: "Precentral_L", 2002: "Precentral_R", 9100: "Vermis_1_2"}
AAL3 = {1: "Precentral_L", 2: "Precentral_R", 35: "Cingulate_Ant_L", 37: "Cingulate_Mid_L", 170: "Raphe_M"}
DESTRIEUX = {1: "L G_and_S_frontomargin", 42: "L Medial_wall", 76: "R G_and_S_frontomargin", 77: "R S_temporal_sup"}
PAULI = ["Pu", "Ca", "NAC"]


def write_image(path, values, dtype=np.uint8, extra=()):
    """A label image with a block of 2 x 4 x 4 voxels for each value, the one after the other along x, from x = 1."""
    labels = np.zeros((2 * len(values) + 2, 4, 4, *extra), dtype)
    for place, value in enumerate(values):
        labels[2 * place + 1 : 2 * place + 3] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, nib.affines.from_matvec(4 * np.eye(3), ORIGIN)), path)


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _fsl(folder, image, xml, names, values):
    write_image(folder / "fsl/data/atlases" / image, values)
    rows = "\n".join(f'<label index="{i}" x="1" y="2" z="3">{name}</label>' for i, name in enumerate(names))
    _text(
        folder / "fsl/data/atlases" / xml,
        f"<?xml version='1.0' encoding='us-ascii'?>\n<atlas><data>{rows}</data></atlas>",
    )


def _aal(folder, version):
    names = AAL3 if version == "3v2" else AAL
    values = [value for value in names if value != 35]  # of which AAL3 has the name alone
    if version in ("SPM5", "SPM8"):
        stem = folder / f"aal_{version}/aal_for_{version}/ROI_MNI_V4"
        _text(stem.with_suffix(".txt"), "".join(f"S{value}\t{name}\t{value}\n" for value, name in names.items()))
    else:
        stem = folder / {"SPM12": "aal_SPM12/aal/atlas/AAL", "3v2": "aal_3v2/AAL3/AAL3v1"}[version]
        rows = "".join(f"<label><index>{v}</index><name>{name}</name></label>" for v, name in names.items())
        _text(stem.with_suffix(".xml"), f"<?xml version='1.0' encoding='us-ascii'?><atlas><data>{rows}</data></atlas>")
    write_image(stem.with_suffix(".nii"), values, np.int16)
    return {value: names[value] for value in values}


def _yeo(folder, n):
    place = folder / "yeo_2011/Yeo_JNeurophysiol11_MNI152"
    for networks in (7, 17):
        rows = [f"{i} {networks}Networks_{i} 120 18 134 0\n" for i in range(1, networks + 1)]
        _text(place / f"Yeo2011_{networks}Networks_ColorLUT.txt", "".join(["0 NONE 0 0 0 0\n", *rows]))
        for ending in ("", "_LiberalMask"):
            path = place / f"Yeo2011_{networks}Networks_MNI152_FreeSurferConformed1mm{ending}.nii.gz"
            write_image(path, range(1, networks + 1), extra=(1,))
    write_image(place / "FSL_MNI152_FreeSurferConformed_1mm.nii.gz", [1])
    return {i: f"{n}Networks_{i}" for i in range(1, n + 1)}


def _schaefer(folder, n, networks):
    names = [f"{networks}Networks_{side}H_Vis_{i}" for side in "LR" for i in range(1, n // 2 + 1)]
    stem = f"Schaefer2018_{n}Parcels_{networks}Networks_order"
    rows = [f"{i}\t{name}\t120\t18\t{i % 256}\t0\n" for i, name in enumerate(names, start=1)]
    _text(folder / "schaefer_2018" / f"{stem}.txt", "".join(rows))
    write_image(folder / "schaefer_2018" / f"{stem}_FSLMNI152_1mm.nii.gz", range(1, n + 1), np.int16)
    return {
        i: f"{networks}Networks_Vis_{k}_{side}"
        for i, (side, k) in enumerate(((side, k) for side in "LR" for k in range(1, n // 2 + 1)), start=1)
    }


def write_fetched(folder, name):
    """Write the files of an atlas of `FETCHED` below `folder`; return {value: name} of the regions as we call them."""
    folder, arguments = Path(folder), FETCHED[name].arguments
    if name == "harvard_oxford_cortical":
        image = "HarvardOxford/HarvardOxford-cortl-maxprob-thr25-1mm.nii.gz"
        _fsl(folder, image, "HarvardOxford-Cortical-Lateralized.xml", HARVARD, [1, 2, 3, 4])
        parts = ("Frontal_Pole", "Inferior_Frontal_Gyrus_pars_triangularis")
        return dict(enumerate((f"{part}_{side}" for part in parts for side in "LR"), start=1))
    if name == "harvard_oxford_subcortical":
        image = "HarvardOxford/HarvardOxford-sub-maxprob-thr25-1mm.nii.gz"
        _fsl(folder, image, "HarvardOxford-Subcortical.xml", SUBCORTICAL, [1, 2, 3, 4, 5])
        names = ("Lateral_Ventricle_L", "Hippocampus_L", "Brain-Stem", "Lateral_Ventricle_R", "Hippocampus_R")
        return dict(enumerate(names, start=1))
    if name == "juelich":
        _fsl(folder, "Juelich/Juelich-maxprob-thr25-1mm.nii.gz", "Juelich.xml", JUELICH, [1, 2, 4])
        group = "GM_Amygdala_centromedial_group"
        return {1: f"{group}_L", 2: f"{group}_R", 4: "WM_Callosal_body"}
    if name == "destrieux_2009":
        place, values = folder / "destrieux_2009", [value for value in DESTRIEUX if value != 42]
        rows = [f"{value},{region}\n" for value, region in {0: "Background", **DESTRIEUX}.items()]
        _text(place / "destrieux2009_rois_labels_lateralized.csv", "".join(["index,name\n", *rows]))
        _text(place / "destrieux2009.rst", "readme")
        write_image(place / "destrieux2009_rois_lateralized.nii.gz", values, np.float64)
        return {1: "G_and_S_frontomargin_L", 76: "G_and_S_frontomargin_R", 77: "S_temporal_sup_R"}
    if name == "pauli_2017":
        place = folder / "pauli_2017"
        _text(place / "labels.txt", "".join(f"{i} {label}\n" for i, label in enumerate(PAULI)))
        write_image(place / "pauli_2017_det.nii.gz", [1, 2, 3], np.int16)
        return dict(enumerate(PAULI, start=1))
    if "version" in arguments and name.startswith("AAL"):
        return _aal(folder, arguments["version"])
    if name.startswith("yeo"):
        return _yeo(folder, arguments["n_networks"])
    if name.startswith("schaefer"):
        return _schaefer(folder, arguments["n_rois"], arguments["yeo_networks"])
    n = arguments["resolution"]
    file = f"template_cambridge_basc_multiscale_sym_scale{n:03}.nii.gz"
    write_image(
        folder / "basc_multiscale_2015/template_cambridge_basc_multiscale_nii_sym" / file, range(1, n + 1), np.int16
    )
    return {i: f"cluster_{i}" for i in range(1, n + 1)}
