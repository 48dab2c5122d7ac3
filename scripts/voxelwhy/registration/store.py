"""Registrations shared between studies: each is stored under the hash of its inputs and linked into every study."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

from voxelwhy import registry
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.store import Store, hash_file, place_file
from voxelwhy.registration.quality import name_registration

log = logging.getLogger(__name__)

#: Increased whenever the files of an entry, or the content of its key, change.
FORMAT = 1
#: Modules in a job's digest that only store, list or pass on images. A registration imports none of them.
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
#: Libraries on which the bytes depend; matplotlib and pillow draw the check picture.
LIBRARIES = ("antspyx", "nibabel", "numpy", "scipy", "dcm2niix", "matplotlib", "pillow")
#: Files of an Analyze or NIfTI pair; SPM stores the affine in .mat.
PAIR = (".img", ".hdr", ".img.gz", ".hdr.gz", ".mat")
IMAGE = "t1.nii"


def register_shared(
    scan_path, template_path, mask_path, settings, out_dir, *, scan_id, head_path=None, store="", code=None, key=None
):
    """Register a scan as `register_scan` does, or take it from the store if another study has registered it.

    Parameters
    ----------
    scan_path, template_path, mask_path, settings, out_dir, scan_id, head_path : as in `register_scan`
    store : path of the store's folder, created if needed; "" for none
    code : dict of str to str, optional; the job's digest of its code
    key : str, optional; the result of `registration_key` for these arguments, if already known

    Returns
    -------
    quality : dict, the content of `quality.json`: that of `register_scan`, and `key`

    Notes
    -----
    The files are byte-identical whether or not a store is used. Where the file system supports hard links, the studies
    share one read-only file. If the store cannot be read or written, only time is lost. Failed registrations are not
    stored, and neither are those with an external brain extraction (`extract`), since the key cannot contain the
    version of that program.
    """
    out_dir = Path(out_dir)
    key = key or registration_key(scan_path, template_path, mask_path, settings, head_path=head_path, code=code)

    def make():
        log.info("registering")
        module = registry.load(registry.TRANSFORMS, settings["transform"], "transform")
        return module.make_registration(scan_path, template_path, mask_path, settings, out_dir, head_path=head_path)

    if store and key and not settings.get("extract"):
        quality = _take_or_make(Store(store), key, out_dir, make)
    else:
        quality = make()
    return name_registration(out_dir, quality | {"key": key}, scan_id=scan_id)


def _take_or_make(store, key, out_dir, make):
    if quality := _take(store, key, out_dir):
        return quality
    with store.alone(key, "another job registers this very scan"):
        # The job that held the lock may have stored this registration.
        if quality := _take(store, key, out_dir):
            return quality
        quality = make()
        if quality["status"] == "ok" and store.put(key, _files(out_dir), {"quality": quality}):
            # Link to the stored file, which may come from a faster job. If it vanishes meanwhile, the bytes here are
            # the same.
            store.take(key, lambda source, name: place_file(source, out_dir / name))
    return quality


def _take(store, key, out_dir):
    """Link an entry's files into `out_dir`; returns its quality, or None if there is no such entry."""
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
    """Return the files of a registration, the image first.

    The number of links of the image tells whether any study uses the entry, also after a job was killed half-way.
    """
    names = [file.relative_to(out_dir).as_posix() for file in out_dir.rglob("*") if file.is_file()]
    return {name: out_dir / name for name in sorted(names, key=lambda name: (name != IMAGE, name))}


def registration_key(scan_path, template_path, mask_path, settings, *, head_path=None, code=None):
    """Return the SHA-256 of all inputs of a registration: images, settings, code and libraries, but no path or scan_id.

    Parameters
    ----------
    scan_path, template_path, mask_path, settings, head_path : as in `register_scan`
    code : dict of str to str, optional; the job's digest. Scripts and the modules of BOOKKEEPING in it are ignored

    Returns
    -------
    str, or None if the scan cannot be read: that is a result, and `register_scan` reports what is wrong
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
    """Return the SHA-256 of a scan on disk: a file, the files of a pair, or all files of a DICOM folder by name.

    Only the extension of a file name counts, since it determines the format.
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
    """Split a file name into stem and extension, such as .nii.gz."""
    stem, ending = os.path.splitext(name)
    if ending.lower() == ".gz":
        stem, inner = os.path.splitext(stem)
        ending = inner + ending
    return stem, ending
