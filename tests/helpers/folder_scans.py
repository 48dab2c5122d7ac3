"""Scans of source folder that several test files use."""

from __future__ import annotations

PLAIN = {
    "source": "folder",
    "classes": {
        "positive": {"name": "F", "values": ["F", 1]},
        "negative": {"name": "M", "values": ["M"]},
        "drop": ["?"],
    },
}
NAMED = {
    "source": "folder",
    "classes": {
        "positive": {"name": "AD", "values": ["AD"]},
        "negative": {"name": "CN", "values": ["NC", "CN"]},
        "drop": ["MCI"],
    },
}


def touch(folder, *names):
    """Empty files below `folder`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write_plain(folder, text, *, name="table.csv", files=("a/1.nii", "b/1.nii", "c_T1w.nii.gz")):
    """A plain table and empty scans in `folder`; the settings that read them."""
    touch(folder, *files)
    (folder / name).write_text(text)
    return PLAIN | {"table": str(folder / name)}


def write_named(folder, *names):
    """Empty scans below `folder`, which has no table; the settings that read them."""
    touch(folder, *names)
    return NAMED | {"data_dir": str(folder)}
