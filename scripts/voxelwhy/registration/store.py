"""Registrations that studies share: each kept under the hash of all that it was made of, and linked to its uses."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

from voxelwhy.io.provenance import software_versions
from voxelwhy.io.store import Store, hash_file, place_file
from voxelwhy.registration.register import make_registration, name_registration

log = logging.getLogger(__name__)

#: Raised when the files of an entry, or what its key is made of, are no longer what they were.
FORMAT = 1
#: Modules in a job's digest that make no image but keep, list and pass on. A registration imports none of them.
BOOKKEEPING = frozenset(
    {
        "voxelwhy.jobs.doors",
        "voxelwhy.io.tables",
        "voxelwhy.registration.batch_registration",
        "voxelwhy.jobs.batches",
        "voxelwhy.registration.manifests",
        "voxelwhy.registration.store",
        "voxelwhy.io.store",
    }
)
#: What else the bytes depend on; matplotlib and pillow draw the check picture.
LIBRARIES = ("antspyx", "nibabel", "numpy", "scipy", "dcm2niix", "matplotlib", "pillow")
#: Files that make up an Analyze or NIfTI pair; SPM's .mat has its affine.
PAIR = (".img", ".hdr", ".img.gz", ".hdr.gz", ".mat")
IMAGE = "t1.nii"


def register_shared(
    scan_path, template_path, mask_path, settings, out_dir, *, scan_id, head_path=None, store="", code=None, key=None
):
    """As `register_scan`, but what another study has registered already is taken from the store, and the new goes in.

    Parameters
    ----------
    scan_path, template_path, mask_path, settings, out_dir, scan_id, head_path : as of `register_scan`
    store : path of the store's folder, made if need be; "" for none
    code : dict of str to str, optional; the job's digest of its code
    key : str, optional; what `registration_key` gives for all these, where it is known already

    Returns
    -------
    quality : dict, the content of `quality.json`: that of `register_scan`, and `key`

    Notes
    -----
    The files are the same, byte for byte, without a store, when they go into it, and when they come from it. Where the
    file system allows, they are one file by several names, which nobody may write to. A store that cannot be read or
    written costs time, never a result. Failures are not stored, and neither is what an external program had a part in
    (`extract`): which version of it ran, the key cannot know.
    """
    out_dir = Path(out_dir)
    key = key or registration_key(scan_path, template_path, mask_path, settings, head_path=head_path, code=code)

    def make():
        log.info("registering")
        return make_registration(scan_path, template_path, mask_path, settings, out_dir, head_path=head_path)

    if store and key and not settings.get("extract"):
        quality = _take_or_make(Store(store), key, out_dir, make)
    else:
        quality = make()
    return name_registration(out_dir, quality | {"key": key}, scan_id=scan_id)


def _take_or_make(store, key, out_dir, make):
    if quality := _take(store, key, out_dir):
        return quality
    with store.alone(key, "another job registers this very scan"):
        # Whoever held the lock may have put in what is wanted here.
        if quality := _take(store, key, out_dir):
            return quality
        quality = make()
        if quality["status"] == "ok" and store.put(key, _files(out_dir), {"quality": quality}):
            # One file by several names: that of whoever was faster. The bytes are the same, should it vanish half way.
            store.take(key, lambda source, name: place_file(source, out_dir / name))
    return quality


def _take(store, key, out_dir):
    """Link an entry's files into `out_dir`. Returns its quality, or None where there is no such entry."""
    placed = []

    def place(source, name):
        place_file(source, out_dir / name)
        placed.append(out_dir / name)

    content = store.take(key, place)
    if content is None:
        for path in placed:
            path.unlink(missing_ok=True)
    return content and content["quality"]


def _files(out_dir):
    """What a registration has made, the image first: its links tell what nobody uses, of what a killed job left too."""
    names = [file.relative_to(out_dir).as_posix() for file in out_dir.rglob("*") if file.is_file()]
    return {name: out_dir / name for name in sorted(names, key=lambda name: (name != IMAGE, name))}


def registration_key(scan_path, template_path, mask_path, settings, *, head_path=None, code=None):
    """SHA-256 of all that a registration is made of: images, settings, code and libraries; no path, no name of a scan.

    Parameters
    ----------
    scan_path, template_path, mask_path, settings, head_path : as of `register_scan`
    code : dict of str to str, optional; the job's digest. Doors and bookkeeping in it change no image

    Returns
    -------
    str, or None where the scan cannot be read: that is a result, and `register_scan` says what is wrong
    """
    try:
        scan = hash_scan(scan_path)
    except OSError:
        return None
    code = {name: value for name, value in (code or {}).items() if name.startswith("voxelwhy.")}
    made_of = {
        "format": FORMAT,
        "scan": scan,
        "template": [hash_file(path) for path in (template_path, mask_path, head_path) if path],
        "settings": settings,
        "code": {name: value for name, value in code.items() if name not in BOOKKEEPING},
        "versions": {name: v for name, v in software_versions(LIBRARIES).items() if name != "python"},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def hash_scan(path):
    """SHA-256 of a scan as it lies on disk: a file, the files of a pair, or all files of a DICOM folder by name.

    Of the name of a file only the ending counts, by which its format is chosen.
    """
    path = Path(path)
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    else:
        stem, ending = _split(path.name)
        pair = [*PAIR, *(part.upper() for part in PAIR)] if ending.lower() in PAIR else []
        files = {part: path.with_name(stem + part) for part in pair}
        files = {ending: path} | {part: file for part, file in files.items() if file.is_file()}
    hashes = {name: hash_file(file) for name, file in files.items()}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _split(name):
    """A file's name and its ending, .gz and what stands before it being one ending."""
    stem, ending = os.path.splitext(name)
    if ending.lower() == ".gz":
        stem, inner = os.path.splitext(stem)
        ending = inner + ending
    return stem, ending
