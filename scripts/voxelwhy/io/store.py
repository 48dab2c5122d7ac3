"""A store that studies share: files kept under the hash of all that they were made of, whole or not at all."""

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

#: A holder that is alive and slow, or a lock that a dead machine left on a network drive: after this one goes on.
WAIT_S, POLL_S = 1800, 1
ENTRY = "entry.json"


class Store:
    """A folder of entries, each a folder of read-only files that appears whole or not at all.

    `<store>/<first two digits>/<key>/` holds an entry's files, and `entry.json`: what its maker says of it and the hash
    of each file. A store that cannot be read or written costs time, never a result.
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
            broken = [name for name, wanted in content["files"].items() if hash_file(entry / name) != wanted]
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

    def take(self, key, place):
        """Hand each file of an entry to `place(source, name)`.

        Returns the content of its `entry.json`; None where there is no such entry, or it is cleaned away meanwhile.
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
        """Make an entry of files, which become read-only.

        Parameters
        ----------
        files : dict, name in the entry to path; the first is the first to be there
        card : dict that JSON can hold, what `entry.json` says beside the hashes
        place : callable, how a file gets from its path into the entry: `place_file` by default

        Returns
        -------
        bool : whether somebody was faster, whose entry is there
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
            log.warning("the store %s takes nothing (%s); the study goes on without it", self.folder, error)
        shutil.rmtree(partial, ignore_errors=True)
        return faster

    def _publish(self, key, partial):
        entry = self._entry(key)
        try:
            os.rename(partial, entry)
        except OSError:  # there is one
            if self.read(key):
                return True
            shutil.rmtree(entry)
            os.rename(partial, entry)
        log.info("stored: %s", entry)
        return False

    @contextmanager
    def alone(self, key, waiting):
        """Hold the lock of a key, so that two studies do not make one thing twice. Without one, both do.

        Parameters
        ----------
        waiting : str, logged where somebody else holds it
        """
        lock = FileLock(self.folder / key[:2] / f"{key}.lock")
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, waiting)
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


def _acquire(lock, waiting):
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("%s: waiting for it", waiting)
        lock.acquire(timeout=WAIT_S, poll_interval=POLL_S)


def hash_file(path):
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_file(source, place):
    """Give `source` a second name, or copy it where the file system has no links; what is at `place` is replaced."""

    def link(source, beside):
        try:
            os.link(source, beside)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, too many links, or none allowed
            shutil.copyfile(source, beside)

    _place(source, place, link)


def copy_file(source, place):
    """Copy `source`, so that the file has a time of its own; what is at `place` is replaced."""
    _place(source, place, shutil.copyfile)


def _place(source, place, how):
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.new")
    beside.unlink(missing_ok=True)
    how(source, beside)
    # Renaming one name of a file to another name of it does nothing.
    place.unlink(missing_ok=True)
    os.rename(beside, place)
