"""Images that others have processed: derivatives of fMRIPrep, PET and probability maps in BIDS, and CAT12's folders."""

from __future__ import annotations

import json

import pytest

from helpers.bids_dataset import CLASSES, write_tsv
from helpers.folder_scans import touch
from helpers.paths import SCHEMA
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.recognise import recognise_source
from voxelwhy.config.settings import load_settings, place_people
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.jobs.named_files import tables_of

MNI = "space-MNI152NLin2009cAsym"


def fmriprep(folder, *, sessions=False):
    """A dataset and, below it, fMRIPrep's images of two people; returns the folder of the derivatives."""
    write_tsv(
        folder / "participants.tsv", "participant_id age diagnosis", "sub-01 71 AD", "sub-02 69 CN", "sub-03 70 CN"
    )
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.9.0"}))
    derived = folder / "derivatives" / "fmriprep"
    for subject in ("sub-01", "sub-02"):
        place = f"{subject}/ses-1/anat/{subject}_ses-1" if sessions else f"{subject}/anat/{subject}"
        names = [f"{place}_{name}.nii.gz" for name in (
            "desc-preproc_T1w", f"{MNI}_desc-preproc_T1w", f"{MNI}_res-2_desc-preproc_T1w", f"{MNI}_desc-brain_mask",
            f"{MNI}_label-GM_probseg", f"{MNI}_label-WM_probseg",
        )]  # fmt: skip
        touch(derived, *names, f"{place}_{MNI}_desc-preproc_T1w.json")
    description = {"Name": "fMRIPrep", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (derived / "dataset_description.json").write_text(json.dumps(description))
    return derived


def settings_of(folder, **changes):
    """The section `cohort` as the workflow completes it."""
    cohort = {"source": "bids", "data_dir": str(folder), "classes": CLASSES} | changes
    config = {"study": "s", "cohort": cohort, "splits": [{"kind": "kfold"}], "registration": {"resolution_mm": 4}}
    return load_settings(config, SCHEMA)["cohort"]


def reasons(dropped):
    return dict(zip(dropped["scan_id"].fillna(dropped["subject_id"]), dropped["reason"], strict=True))


@pytest.mark.parametrize("sessions", [False, True])
def test_images_in_template_space_with_the_diagnoses_of_the_dataset(tmp_path, sessions):
    derived = fmriprep(tmp_path / "raw", sessions=sessions)
    settings = settings_of(derived, entities={"space": "MNI152NLin2009cAsym", "desc": "preproc"})
    assert settings["participants"] == str(tmp_path / "raw")
    scans, dropped, counts = parse_tables(settings)
    own = "sub-01_ses-1" if sessions else "sub-01"
    assert scans["scan_id"][0] == f"{own}_{MNI}_desc-preproc_T1w"
    assert scans["label"].tolist() == ["AD", "CN"] and scans["age"].tolist() == [71, 69]
    found = reasons(dropped)
    assert found[f"{own}_desc-preproc_T1w"] == "not chosen by cohort.entities"
    assert found[f"{own}_{MNI}_res-2_desc-preproc_T1w"] == "another variant of the session is used"
    assert found["sub-03"] == "no T1w image"
    assert counts["rows"] == 2 * 3 + 1
    assert str(tmp_path / "raw" / "participants.tsv") in tables_of(settings)


def test_a_resolution_or_its_absence_can_be_chosen(tmp_path):
    derived = fmriprep(tmp_path / "raw")
    chosen = {"space": "MNI152NLin2009cAsym", "res": 2}
    assert all("_res-2_" in name for name in parse_tables(settings_of(derived, entities=chosen))[0]["scan_id"])
    scans, dropped, _ = parse_tables(settings_of(derived, entities=chosen | {"res": "none"}))
    assert not scans["scan_id"].str.contains("_res-").any() and len(scans) == 2
    details = dropped.set_index("scan_id")["detail"]
    assert details[f"sub-01_{MNI}_res-2_desc-preproc_T1w"] == "res 2, not without it"


def test_maps_of_grey_matter_by_their_suffix(tmp_path):
    settings = settings_of(fmriprep(tmp_path / "raw"), suffix="probseg", entities={"label": "GM"})
    scans, dropped, _ = parse_tables(settings)
    assert scans["scan_id"].tolist() == [f"sub-0{n}_{MNI}_label-GM_probseg" for n in (1, 2)]
    assert set(dropped["reason"]) == {"not chosen by cohort.entities", "no probseg image"}


def test_pet_lies_in_a_folder_of_its_own(tmp_path):
    write_tsv(tmp_path / "participants.tsv", "participant_id diagnosis", "sub-01 AD", "sub-02 CN")
    for n in (1, 2):
        touch(tmp_path, f"sub-0{n}/pet/sub-0{n}_trc-18FFDG_{MNI}_pet.nii.gz", f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz")
    touch(tmp_path, "sub-02/anat/sub-02_pet.nii.gz")
    scans, dropped, _ = parse_tables(settings_of(tmp_path, suffix="pet", entities={"tracer": "18FFDG"}))
    assert scans["label"].tolist() == ["AD", "CN"]
    assert dropped["reason"].tolist() == ["not in the pet folder of a subject"]
    with pytest.raises(InputError, match=r"no bold image in the dataset[\s\S]*_bold\.nii"):
        parse_tables(settings_of(tmp_path, suffix="bold"))


def test_where_the_diagnoses_are(tmp_path):
    """A dataset with a table of its own needs no other; one beside it is not guessed; a table may be named."""
    derived = fmriprep(tmp_path / "raw")
    own = {"source": "bids", "data_dir": str(tmp_path / "raw")}
    place_people(own)
    assert "participants" not in own
    elsewhere = tmp_path / "elsewhere"
    derived.rename(elsewhere)
    with pytest.raises(InputError, match=r"neither participants\.tsv nor any sessions\.tsv"):
        parse_tables(settings_of(elsewhere))
    table = tmp_path / "labels.csv"
    table.write_text("participant_id,diagnosis\nsub-01,AD\n02,CN\n")
    named = settings_of(elsewhere, participants=str(table), entities={"space": "MNI152NLin2009cAsym"})
    assert parse_tables(named)[0]["label"].tolist() == ["AD", "CN"] and str(table) in tables_of(named)
    with pytest.raises(InputError, match=r"no such dataset or table of participants[\s\S]*nowhere"):
        parse_tables(settings_of(elsewhere, participants=str(tmp_path / "nowhere")))


CAT12 = {"source": "folder", "pattern": "mwp1*.nii*", "classes": {
    "positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}, "drop": ["MCI"],
}}  # fmt: skip


def test_grey_matter_of_cat12_in_folders_of_classes(tmp_path):
    for name in ("AD/a1", "AD/a2", "CN/c1", "MCI/m1"):
        place, stem = name.split("/")
        touch(tmp_path, f"{name}.nii", f"{place}/mri/mwp1{stem}.nii", f"{place}/mri/mwp2{stem}.nii")
    scans, dropped, counts = parse_tables(CAT12 | {"data_dir": str(tmp_path)})
    people = dict(zip(scans["subject_id"], scans["label"], strict=True))
    assert people == {"a1": "AD", "a2": "AD", "c1": "CN"}, "mri is nobody"
    assert scans["scan_id"].tolist() == ["AD-mri-mwp1a1", "AD-mri-mwp1a2", "CN-mri-mwp1c1"]
    assert counts["dropped"] == {"label MCI is not studied": 1, "not chosen by cohort.pattern": 8}
    assert counts["rows"] == 12 == len(scans) + len(dropped)


def test_the_class_may_follow_what_the_pattern_begins_with(tmp_path):
    touch(tmp_path, "mri/mwp1AD_001.nii", "mri/mwp1CN_001.nii.gz", "AD_001.nii", "mri/mwp1x.nii")
    scans, dropped, _ = parse_tables(CAT12 | {"data_dir": str(tmp_path)})
    assert dict(zip(scans["subject_id"], scans["label"], strict=True)) == {"AD_001": "AD", "CN_001": "CN"}
    assert sorted(dropped["reason"]) == ["not chosen by cohort.pattern", "the name does not begin with a class"]
    with pytest.raises(InputError, match=r"no folder is named like a class[\s\S]*pattern smwc1\*"):
        parse_tables(CAT12 | {"data_dir": str(tmp_path), "pattern": "smwc1*"})


def caps(folder, **groups):
    """A CAPS folder with images of four pipelines of two people at two visits; returns it and the table."""
    for subject in ("sub-ADNI001", "sub-ADNI002"):
        for session in ("ses-M000", "ses-M012"):
            place, name = f"subjects/{subject}/{session}", f"{subject}_{session}"
            linear = "space-MNI152NLin2009cSym"
            touch(folder, *(f"{place}/{file}" for file in (
                f"t1_linear/{name}_{linear}_desc-Crop_res-1x1x1_T1w.nii.gz",
                f"t1_linear/{name}_{linear}_res-1x1x1_T1w.nii.gz",
                f"t1_linear/{name}_{linear}_res-1x1x1_affine.mat",
                f"pet_linear/{name}_trc-18FFDG_pet_{linear}_desc-Crop_res-1x1x1_suvr-pons_pet.nii.gz",
                f"pet_linear/{name}_trc-18FFDG_pet_{linear}_desc-Crop_res-1x1x1_suvr-cerebellumPons2_pet.nii.gz",
                *(f"t1/spm/dartel/group-X/{name}_T1w_segm-{tissue}_space-Ixi549Space_modulated-{on}{fwhm}_probability.nii.gz"
                  for tissue in ("graymatter", "whitematter") for on in ("on", "off") for fwhm in ("", "_fwhm-8mm")),
            )))  # fmt: skip
    table = folder / "labels.tsv"
    rows = [
        "ADNI001 ses-M00 71.5 AD",
        "sub-ADNI001 ses-M12 72.5 AD",
        "sub-ADNI002 M000 60 CN",
        "sub-ADNI003 M000 60 CN",
    ]
    write_tsv(table, "participant_id session_id age diagnosis", *rows)
    return {"source": "caps", "data_dir": str(folder), "participants": str(table), "classes": CLASSES}


def caps_settings(folder, modality="t1w", **changes):
    config = {"study": "s", "cohort": caps(folder) | changes, "splits": [{"kind": "kfold"}]}
    config |= {"scans": {"modality": modality}, "registration": {"resolution_mm": 4, "transform": "none"}}
    return load_settings(config, SCHEMA)["cohort"]


def test_t1_linear_of_clinica_is_cropped_and_labelled_by_session(tmp_path):
    scans, dropped, counts = parse_tables(caps_settings(tmp_path))
    cropped = "space-MNI152NLin2009cSym_desc-Crop_res-1x1x1_T1w"
    assert scans["scan_id"].tolist() == [
        f"{name}_{cropped}" for name in ("sub-ADNI001_ses-M000", "sub-ADNI001_ses-M012", "sub-ADNI002_ses-M000")
    ]
    assert scans["session"].tolist() == ["M000", "M012", "M000"] and scans["age"].tolist() == [71.5, 72.5, 60]
    assert counts["dropped"] == {"no T1w image": 1, "no label": 1, "not chosen by cohort.entities": 4}
    assert dropped.set_index("subject_id")["reason"]["sub-ADNI003"] == "no T1w image"
    whole = parse_tables(caps_settings(tmp_path, entities={"desc": "none"}))[0]
    assert len(whole) == 3 and not whole["scan_id"].str.contains("Crop").any()


@pytest.mark.parametrize(
    ("image", "modality", "entities", "ending", "dropped"),
    [
        ("t1-volume", "gm", {}, "segm-graymatter_space-Ixi549Space_modulated-on_probability", 3),
        ("t1-volume", "gm", {"fwhm": "8mm"}, "segm-graymatter_space-Ixi549Space_modulated-on_fwhm-8mm_probability", 0),
        ("t1-volume", "gm", {"segm": "whitematter", "modulated": "off"}, "Ixi549Space_modulated-off_probability", 3),
        ("pet-linear", "pet", {}, "suvr-cerebellumPons2_pet", 3),
        ("pet-linear", "pet", {"suvr": "pons"}, "suvr-pons_pet", 0),
    ],
)
def test_other_pipelines_of_clinica(tmp_path, image, modality, entities, ending, dropped):
    scans, _, counts = parse_tables(caps_settings(tmp_path, modality, image=image, entities=entities))
    assert len(scans) == 3 and scans["scan_id"].str.endswith(ending).all()
    assert counts["dropped"].get("another variant of the session is used", 0) == dropped


def test_a_caps_folder_is_recognised_and_others_are_refused(tmp_path):
    settings = caps_settings(tmp_path)
    assert recognise_source(settings)[0] == "caps"
    with pytest.raises(InputError, match=r"no image of pet-volume[\s\S]*images of t1-linear, t1-volume, pet-linear"):
        parse_tables(caps_settings(tmp_path, "pet", image="pet-volume"))
    with pytest.raises(InputError, match=r"not a CAPS folder[\s\S]*no folder subjects/"):
        parse_tables(settings | {"data_dir": str(tmp_path / "subjects")})
    with pytest.raises(ConfigError, match=r"not T1-weighted[\s\S]*modality: gm"):
        caps_settings(tmp_path, image="t1-volume")


def test_a_dataset_whose_sessions_have_the_diagnoses_needs_no_folder_above(tmp_path):
    """Even if a folder above has a participants.tsv of something else."""
    write_tsv(tmp_path / "participants.tsv", "participant_id diagnosis", "sub-01 CN")
    folder = tmp_path / "data"
    for subject, label in (("sub-01", "AD"), ("sub-02", "CN")):
        touch(folder, f"{subject}/ses-1/anat/{subject}_ses-1_T1w.nii.gz")
        write_tsv(folder / subject / f"{subject}_sessions.tsv", "session_id diagnosis", f"ses-1 {label}")
    settings = settings_of(folder)
    assert "participants" not in settings
    assert parse_tables(settings)[0]["label"].tolist() == ["AD", "CN"]
