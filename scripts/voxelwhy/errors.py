"""Errors that tell users what is wrong, where, what was found, what is allowed and what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryFile, gettempdir


class VoxelwhyError(Exception):
    """An error that the user can fix; shown without a traceback."""


class InputError(VoxelwhyError):
    """A table, file or setting that cannot be used.

    Parameters
    ----------
    problem : str
        One sentence that states what is wrong.
    file, row, column : optional
        Where the problem is. `row` is the line of the file; the header is line 1.
    found, allowed, hint : optional
        The offending value, the values that are accepted, and what to do.
    """

    def __init__(self, problem, *, file=None, row=None, column=None, found=None, allowed=None, hint=None):
        lines = [problem]
        where = [f"file {file}" if file is not None else "", f"row {row}" if row is not None else ""]
        where.append(f"column {column}" if column is not None else "")
        if any(where):
            lines.append("  where:   " + ", ".join(part for part in where if part))
        if found is not None:
            lines.append(f"  found:   {found!r}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed if isinstance(allowed, str) else ', '.join(map(str, allowed))}")
        if hint is not None:
            lines.append(f"  to do:   {hint}")
        super().__init__("\n".join(lines))
        self.problem, self.found = problem, found


class ConfigError(InputError):
    """A setting of the study's config file that cannot be used."""


class ShapeError(VoxelwhyError, ValueError):
    """Images, masks or weights whose shapes or grids do not match."""


class ModelError(VoxelwhyError, ValueError):
    """A network that cannot be built, loaded or explained as requested."""


AGAIN = "run the same command again: what is finished is kept"
# Errors of the machine by errno: what is wrong, and what to do about it.
REFUSALS = {
    errno.ENOSPC: ("the disk is full", f"free space there, then {AGAIN}"),
    errno.EDQUOT: ("your quota on this disk is used up", f"delete files of yours there or ask for more, then {AGAIN}"),
    errno.EROFS: ("the disk is read-only", f"have it mounted for writing, then {AGAIN}"),
    errno.EACCES: ("you do not have permission to read or write here", f"check who owns it (ls -ld), then {AGAIN}"),
    errno.EPERM: ("you do not have permission to change this", f"check who owns it (ls -ld), then {AGAIN}"),
    errno.ESTALE: ("a file or folder vanished from the file server", f"check that the folder exists, then {AGAIN}"),
    errno.EIO: ("the disk or file server failed to read or write", f"tell its administrator; once it works, {AGAIN}"),
}
_MORE_MEMORY = f"give the job more memory, or run fewer jobs at once (--cores), then {AGAIN}"
# The same by the wording of libraries whose errors have no errno.
_WORDS = {
    r"No space left": REFUSALS[errno.ENOSPC],
    r"Disk quota exceeded": REFUSALS[errno.EDQUOT],
    r"Read-only file system": REFUSALS[errno.EROFS],
    r"PytorchStreamWriter|inline_container|iostream error": (
        "a file could not be written completely, as on a full disk",
        REFUSALS[errno.ENOSPC][1],
    ),
    r"CUDA out of memory": (
        "the GPU has not enough memory",
        f"use a smaller training.batch_size, a GPU with more memory or training.device: cpu, then {AGAIN}",
    ),
    r"can't allocate memory|bad_alloc|[Cc]annot allocate memory|Failed to allocate memory": (
        "there is not enough memory",
        _MORE_MEMORY,
    ),
}


def explain(error, folder):
    """The message for an error of the machine (disk, permissions, memory); None for any other error.

    Parameters
    ----------
    error : BaseException
        Its causes are searched as well, because libraries wrap errors of the operating system in their own.
    folder : path
        Where the job writes. The message names it with its free space if the error names no file.
    """
    for cause in _causes(error):
        file = _place(cause.filename) if isinstance(cause, OSError) and cause.filename else folder
        if isinstance(cause, MemoryError):
            return str(InputError("there is not enough memory", found=str(cause) or None, hint=_MORE_MEMORY))
        for problem, hint in _refusals(cause):
            said = str(cause).partition("\n")[0]
            if "memory" in problem:
                return str(InputError(problem, found=said, hint=hint))
            # If the error names no file, it may have been a temporary one.
            free = "; ".join(dict.fromkeys(_free(p) for p in ([file] if file != folder else [file, gettempdir()])))
            return str(InputError(problem, file=file, found=f"{_place(said)}; {free}", hint=hint))
    return None


#: What Snakemake takes for a wildcard, wherever it stands in the path of a file.
WILDCARD = re.compile(r"\{\s*\w+\s*(,[^{}]*)?\}")


def require_plain(path, **where):
    """Raise InputError, which says `where`, if Snakemake would take part of a path for a wildcard."""
    if braces := WILDCARD.search(str(path)):
        raise InputError(
            "a path has a word in braces, which Snakemake takes for a wildcard",
            **where,
            found=str(path),
            allowed=f"a path without {braces[0]}",
            hint="rename the file or folder, or make a link to it (ln -s) and name the link",
        )


def require_room(folder):
    """Raise the OSError of a full disk if less than 50 MB are free: some libraries silently truncate files."""
    if shutil.disk_usage(_existing(folder)).free < 50e6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def require_writable(folder):
    """Refuse a folder that cannot be written (if it does not exist, its nearest existing parent); leave nothing behind.

    Raises
    ------
    InputError
        The folder cannot be written; the message gives the reason.
    """
    folder = Path(folder)
    there = _existing(folder)
    try:
        with TemporaryFile(dir=there) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
    except OSError as error:
        problem, hint = REFUSALS.get(error.errno, ("writing failed", f"fix that, then {AGAIN}"))
        raise InputError(
            f"{folder} cannot be written: {problem}", file=there, found=f"{error.strerror}; {_free(there)}", hint=hint
        ) from error


def _causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refusals(cause):
    if isinstance(cause, OSError) and cause.errno in REFUSALS:
        yield REFUSALS[cause.errno]
    elif isinstance(cause, (OSError, RuntimeError)):
        yield from (words for pattern, words in _WORDS.items() if re.search(pattern, str(cause)))


def _place(path):
    """A path as users know it: without the hidden folder into which outputs are first written."""
    return re.sub(r"\.partial\.[^/]+/?", "", os.fsdecode(path))


def _existing(path):
    path = Path(path)
    return next((p for p in (path, *path.absolute().parents) if p.is_dir()), Path("/"))


def _free(path):
    folder = _existing(path)
    try:
        return f"{shutil.disk_usage(folder).free / 1e9:.2f} GB are free in {folder}"
    except OSError:
        return f"the free space of {folder} is unknown"
