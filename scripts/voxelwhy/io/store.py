"""A store that studies share: entries of files under the hash of everything that they depend on."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from voxelwhy.io.images import read_json, write_json

log = logging.getLogger(__name__)

#: After this time a job continues without the lock: its holder is slow, or a machine that crashed left it behind.
WAIT_S, POLL_S = 1800, 1
ENTRY = "entry.json"


class Store:
    """A folder of entries, each a folder of read-only files that appears either complete or not at all.

    `<store>/<first two digits>/<key>/` holds the files of an entry and `entry.json`, with a description by its maker
    and the hash of each file. A store that cannot be read or written costs time, but never changes a result.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def _entry(self, key):
        return self.folder / key[:2] / key

    def read(self, key):
        """Return the content of `entry.json`; None if there is no entry, or its files do not match their hashes."""
        entry = self._entry(key)
        try:
            content = read_json(entry / ENTRY)
            broken = [name for name, wanted in content["files"].items() if hash_file(entry / name) != wanted]
        except FileNotFoundError:
            if entry.exists():
                log.warning("%s is incomplete; it is made again", entry)
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read (%s); it is made again", entry, error)
            return None
        if broken:
            log.warning("%s has been altered (%s); it is made again", entry, ", ".join(broken))
        return None if broken else content

    def take(self, key, place):
        """Call `place(source, name)` for each file of an entry.

        Returns the content of `entry.json`; None if there is no such entry, or it is removed meanwhile.
        """
        content = self.read(key)
        if content is None:
            return None
        entry = self._entry(key)
        try:
            for name in content["files"]:
                place(entry / name, name)
        except FileNotFoundError:
            return None
        log.info("taken from the store: %s", entry)
        return content

    def put(self, key, files, card, *, place=None):
        """Make an entry from files, which become read-only.

        Parameters
        ----------
        files : dict, name in the entry to path; they are placed in this order
        card : dict for JSON, the content of `entry.json` in addition to the hashes
        place : callable that places a file in the entry; `place_file` by default

        Returns
        -------
        bool : whether another job was faster and its entry is used
        """
        entry, place = self._entry(key), place or place_file
        partial = entry.with_name(f".partial.{key}.{uuid.uuid4().hex[:8]}")
        faster = False
        try:
            for name, path in files.items():
                place(path, partial / name)
                os.chmod(partial / name, 0o444)
            write_json(partial / ENTRY, {**card, "files": {name: hash_file(partial / name) for name in files}})
            os.chmod(partial / ENTRY, 0o444)
            faster = self._publish(key, partial)
        except OSError as error:
            log.warning("the store %s cannot be written (%s); the study continues without it", self.folder, error)
        shutil.rmtree(partial, ignore_errors=True)
        return faster

    def _publish(self, key, partial):
        entry = self._entry(key)
        try:
            os.rename(partial, entry)
        except OSError:  # the entry exists
            if self.read(key):
                return True
            shutil.rmtree(entry)
            os.rename(partial, entry)
        log.info("stored: %s", entry)
        return False

    @contextmanager
    def alone(self, key, waiting):
        """Hold the lock of a key, so that two studies do not make the same entry twice. Without a lock, both make it.

        Parameters
        ----------
        waiting : str, logged if another job holds the lock
        """
        lock = FileLock(self.folder / key[:2] / f"{key}.lock")
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, waiting)
        except Timeout:
            log.warning("waited for the lock for %d s; continuing without it", WAIT_S)
        except (OSError, NotImplementedError) as error:
            log.warning("the store %s cannot be locked (%s); continuing without the lock", self.folder, error)
        try:
            yield
        finally:
            if lock.is_locked:
                # A job that waits for the lock notices that its file is gone, and then reads the entry.
                with suppress(OSError):
                    Path(lock.lock_file).unlink(missing_ok=True)
                lock.release()


def _acquire(lock, waiting):
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("%s: waiting for it", waiting)
        lock.acquire(timeout=WAIT_S, poll_interval=POLL_S)


def hash_file(path):
    """Return the SHA-256 of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_file(source, place):
    """Link `source` to `place`, or copy it if the file system has no links; an existing file at `place` is replaced."""

    def link(source, beside):
        try:
            os.link(source, beside)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, too many links, or none allowed
            shutil.copyfile(source, beside)

    _place(source, place, link)


def copy_file(source, place):
    """Copy `source` to `place` with its own modification time; an existing file at `place` is replaced."""
    _place(source, place, shutil.copyfile)


def _place(source, place, how):
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.new")
    beside.unlink(missing_ok=True)
    how(source, beside)
    # Renaming a link to another link of the same file has no effect.
    place.unlink(missing_ok=True)
    os.rename(beside, place)
