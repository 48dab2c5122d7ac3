"""A BIDS dataset of empty images, as several test files use it."""

from __future__ import annotations

import json

CLASSES = {
    "positive": {"name": "AD", "values": ["AD"]},
    "negative": {"name": "CN", "values": ["CN"]},
    "drop": ["MCI"],
}


def write_tsv(path, *lines):
    """A TSV of lines whose cells are separated by spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(line.split(" ")) + "\n" for line in lines))


def add_images(folder, *names):
    """Empty images where their names say: sub-01_ses-1_T1w.nii is sub-01/ses-1/anat/sub-01_ses-1_T1w.nii."""
    for name in names:
        parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
        path = folder.joinpath(*parts, "anat", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_bids(folder, *names, participants=("participant_id diagnosis", "sub-01 AD", "sub-02 CN")):
    """A dataset with those images and participants; the settings that read it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.9.0"}))
    if participants:
        write_tsv(folder / "participants.tsv", *participants)
    add_images(folder, *(names or ("sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz")))
    settings = {"source": "bids", "data_dir": str(folder), "label": "diagnosis", "classes": CLASSES}
    return settings | {"entities": {}, "run": "first"}
