"""Registrations that studies share: each kept under the hash of all that it was made of, and linked to its uses."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from voxelwhy.images import read_json, write_json
from voxelwhy.provenance import software_versions
from voxelwhy.registration.ants_registration import make_registration, name_registration

log = logging.getLogger(__name__)

#: Raised when the files of an entry, or what its key is made of, are no longer what they were.
FORMAT = 1
#: Modules in a job's digest that make no image but keep, list and pass on. A registration imports none of them.
BOOKKEEPING = frozenset(
    {
        "voxelwhy.doors",
        "voxelwhy.tables",
        "voxelwhy.registration.batch_registration",
        "voxelwhy.registration.batches",
        "voxelwhy.registration.manifests",
        "voxelwhy.registration.store",
    }
)
#: What else the bytes depend on; matplotlib and pillow draw the check picture.
LIBRARIES = ("antspyx", "nibabel", "numpy", "scipy", "dcm2niix", "matplotlib", "pillow")
#: A holder that is alive and slow, or a lock that a dead machine left on a network drive: after this one goes on.
WAIT_S, POLL_S = 1800, 1
#: Files that make up an Analyze or NIfTI pair; SPM's .mat has its affine.
PAIR = (".img", ".hdr", ".img.gz", ".hdr.gz", ".mat")
IMAGE, ENTRY = "t1.nii", "entry.json"


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
    if quality := store.take(key, out_dir):
        return quality
    with store.alone(key):
        # Whoever held the lock may have put in what is wanted here.
        if quality := store.take(key, out_dir):
            return quality
        quality = make()
        if quality["status"] == "ok":
            store.put(key, out_dir, quality)
    return quality


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
        "template": [_hash(path) for path in (template_path, mask_path, head_path) if path],
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
    hashes = {name: _hash(file) for name, file in files.items()}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _split(name):
    """A file's name and its ending, .gz and what stands before it being one ending."""
    stem, ending = os.path.splitext(name)
    if ending.lower() == ".gz":
        stem, inner = os.path.splitext(stem)
        ending = inner + ending
    return stem, ending


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """A folder of registrations, each a folder of read-only files that appears whole or not at all.

    `<store>/<first two digits>/<key>/` holds what `make_registration` wrote, and `entry.json`: its quality and the
    hash of each file.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def _entry(self, key):
        return self.folder / key[:2] / key

    def read(self, key):
        """The content of an entry's `entry.json`; None where there is no entry, or its files are not what they were."""
        entry = self._entry(key)
        try:
            content = read_json(entry / ENTRY)
            broken = [name for name, wanted in content["files"].items() if _hash(entry / name) != wanted]
        except FileNotFoundError:
            if entry.exists():
                log.warning("%s is not whole; it is made anew", entry)
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read (%s); it is made anew", entry, error)
            return None
        if broken:
            log.warning("%s has been altered (%s); it is made anew", entry, ", ".join(broken))
        return None if broken else content

    def take(self, key, out_dir):
        """Link an entry's files into `out_dir`. Returns its quality, or None where there is no such entry."""
        content = self.read(key)
        if content is None:
            return None
        entry = self._entry(key)
        try:
            for name in content["files"]:
                _place(entry / name, out_dir / name)
        except FileNotFoundError:  # cleaned away meanwhile
            for name in content["files"]:
                (out_dir / name).unlink(missing_ok=True)
            return None
        log.info("taken from the store: %s", entry)
        return content["quality"]

    def put(self, key, out_dir, quality):
        """Make an entry of the files in `out_dir`, which become read-only. Whoever was faster has the entry."""
        entry = self._entry(key)
        partial = entry.with_name(f".partial.{key}.{uuid.uuid4().hex[:8]}")
        try:
            names = [file.relative_to(out_dir).as_posix() for file in out_dir.rglob("*") if file.is_file()]
            # The image first: its links tell what nobody uses, of what a killed job left too.
            names.sort(key=lambda name: (name != IMAGE, name))
            for name in names:
                _place(out_dir / name, partial / name)
                os.chmod(partial / name, 0o444)
            write_json(partial / ENTRY, {"quality": quality, "files": {name: _hash(partial / name) for name in names}})
            os.chmod(partial / ENTRY, 0o444)
            self._publish(key, partial, out_dir)
        except OSError as error:
            log.warning("the store %s takes nothing (%s); the study goes on without it", self.folder, error)
        shutil.rmtree(partial, ignore_errors=True)

    def _publish(self, key, partial, out_dir):
        entry = self._entry(key)
        try:
            os.rename(partial, entry)
        except OSError:  # there is one
            if self.take(key, out_dir):
                return
            shutil.rmtree(entry)
            os.rename(partial, entry)
        log.info("stored: %s", entry)

    @contextmanager
    def alone(self, key):
        """Hold the lock of a key, so that two studies do not register one scan twice. Without one, both do."""
        lock = FileLock(self.folder / key[:2] / f"{key}.lock")
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock)
        except Timeout:
            log.warning("waited for %d s in vain; going on without the lock", WAIT_S)
        except (OSError, NotImplementedError) as error:
            log.warning("the store %s cannot be locked (%s); going on without the lock", self.folder, error)
        try:
            yield
        finally:
            if lock.is_locked:
                # Who waits for the file that is gone sees that, and finds the entry.
                with suppress(OSError):
                    Path(lock.lock_file).unlink(missing_ok=True)
                lock.release()


def _acquire(lock):
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another job registers this very scan: waiting for it")
        lock.acquire(timeout=WAIT_S, poll_interval=POLL_S)


def _place(source, place):
    """Give `source` a second name, or copy it where the file system has no links; what is at `place` is replaced."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.new")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, too many links, or none allowed
        shutil.copyfile(source, beside)
    # Renaming one name of a file to another name of it does nothing.
    place.unlink(missing_ok=True)
    os.rename(beside, place)
