"""Errors for people: what is wrong, where it stands, what was found, what is allowed, what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryFile, gettempdir


class VoxelwhyError(Exception):
    """Something that the person at the keyboard can mend; shown without a traceback."""


class InputError(VoxelwhyError):
    """A table, file or setting that cannot be used.

    Parameters
    ----------
    problem : str
        One sentence that says what is wrong.
    file, row, column : optional
        Where it stands. `row` is the line of the file, the header being line 1.
    found, allowed, hint : optional
        The offending value, what would be accepted, and what to do about it.
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
    """Images, masks or weights whose shapes or grids do not belong together."""


class ModelError(VoxelwhyError, ValueError):
    """A network that cannot be built, loaded or explained as asked."""


AGAIN = "run the same command again: what is finished is kept"
# What the machine refuses, by the error's number: what is wrong, and what to do about it.
REFUSALS = {
    errno.ENOSPC: ("the disk is full", f"free space there, then {AGAIN}"),
    errno.EDQUOT: ("your quota on this disk is used up", f"delete files of yours there or ask for more, then {AGAIN}"),
    errno.EROFS: ("the disk is read-only", f"have it mounted for writing, then {AGAIN}"),
    errno.EACCES: ("you have no right to read or write here", f"see who owns it (ls -ld), then {AGAIN}"),
    errno.EPERM: ("you have no right to change this", f"see who owns it (ls -ld), then {AGAIN}"),
    errno.ESTALE: ("a file or folder vanished from the file server", f"see that the folder is there, then {AGAIN}"),
    errno.EIO: ("the disk or file server failed to read or write", f"tell whoever runs it; when it works, {AGAIN}"),
}
_MORE_MEMORY = f"give the job more memory, or run fewer jobs at once (--cores), then {AGAIN}"
# The same by the words of libraries whose errors have no number.
_WORDS = {
    r"No space left": REFUSALS[errno.ENOSPC],
    r"Disk quota exceeded": REFUSALS[errno.EDQUOT],
    r"Read-only file system": REFUSALS[errno.EROFS],
    r"PytorchStreamWriter|inline_container|iostream error": (
        "a file could not be written whole, as on a full disk",
        REFUSALS[errno.ENOSPC][1],
    ),
    r"CUDA out of memory": (
        "the GPU has not enough memory",
        f"a smaller training.batch_size, a GPU with more memory or training.device: cpu; then {AGAIN}",
    ),
    r"can't allocate memory|bad_alloc|[Cc]annot allocate memory|Failed to allocate memory": (
        "there is not enough memory",
        _MORE_MEMORY,
    ),
}


def explain(error, folder):
    """What people are told of an error that is the machine's (disk, rights, memory) and not the program's; else None.

    Parameters
    ----------
    error : BaseException
        Looked through with its causes: libraries wrap the operating system's errors in ones of their own.
    folder : path
        Where the job writes: named, with its free space, where the error names no file.
    """
    for cause in _causes(error):
        file = _place(cause.filename) if isinstance(cause, OSError) and cause.filename else folder
        if isinstance(cause, MemoryError):
            return str(InputError("there is not enough memory", found=str(cause) or None, hint=_MORE_MEMORY))
        for problem, hint in _refusals(cause):
            said = str(cause).partition("\n")[0]
            if "memory" in problem:
                return str(InputError(problem, found=said, hint=hint))
            # Where no file is named it may have been a temporary one.
            free = "; ".join(dict.fromkeys(_free(p) for p in ([file] if file != folder else [file, gettempdir()])))
            return str(InputError(problem, file=file, found=f"{_place(said)}; {free}", hint=hint))
    return None


def require_room(folder):
    """Raise the OSError of a full disk where less than 50 MB are free: for libraries that cut files off in silence."""
    if shutil.disk_usage(_existing(folder)).free < 50e6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def require_writable(folder):
    """Refuse a folder that cannot be written, or the nearest one above it that is there; nothing is left behind.

    Raises
    ------
    InputError
        With the reason in plain words.
    """
    folder = Path(folder)
    there = _existing(folder)
    try:
        with TemporaryFile(dir=there) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
    except OSError as error:
        problem, hint = REFUSALS.get(error.errno, ("it cannot be written", f"mend that, then {AGAIN}"))
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
    """A path as people know it: without the hidden folder in which outputs are written."""
    return re.sub(r"\.partial\.[^/]+/?", "", os.fsdecode(path))


def _existing(path):
    path = Path(path)
    return next((p for p in (path, *path.absolute().parents) if p.is_dir()), Path("/"))


def _free(path):
    folder = _existing(path)
    try:
        return f"{shutil.disk_usage(folder).free / 1e9:.2f} GB are free in {folder}"
    except OSError:
        return f"{folder} cannot be asked how much is free"
