"""Whether an image file is what its name says, and whether all of it has arrived."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from voxelwhy.errors import InputError

GZIP = b"\x1f\x8b"
#: How pages begin that a server sends instead of a file, for instance to somebody who is not logged in.
PAGES = (b"<!doctype html", b"<html", b"<?xml")
#: The first bytes of NIfTI-1 and NIfTI-2, in either order of bytes.
NIFTI = {(348).to_bytes(4, order) for order in ("little", "big")} | {(540).to_bytes(4, o) for o in ("little", "big")}
BLOCK = 1 << 22


def require_whole(path):
    """Refuse a file that is not an image, and a compressed one whose checksum does not hold.

    nibabel stops reading at the last voxel, before the checksum, so that it reads a damaged file without an error.

    Raises
    ------
    InputError
        The file holds a web page, is not compressed although its name ends in .gz, is compressed twice, is cut off or
        damaged. The message says which, and to download it again only where that helps.
    """
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(512)
    _refuse_page(head, path)
    if head.startswith(GZIP):
        _read_to_the_end(path)
    elif path.suffix.lower() == ".gz" and head[:4] in NIFTI:
        raise InputError(
            "the image is not gzipped, although its name ends in .gz",
            file=path,
            found="a NIfTI header at the beginning",
            hint=f"rename it to {path.name.removesuffix(path.suffix)}",
        )


def _read_to_the_end(path):
    try:
        with gzip.open(path) as whole:
            head = whole.read(512)
            while whole.read(BLOCK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            "the image cannot be read", file=path, found=f"{type(error).__name__}: {error}", hint="download it again"
        ) from error
    if head.startswith(GZIP):
        raise InputError(
            "the image is gzipped twice", file=path, found="a gzip stream inside another", hint=f"gunzip {path} once"
        )
    _refuse_page(head, path)


def _refuse_page(head, path):
    if head.lstrip().lower().startswith(PAGES):
        raise InputError(
            "the file holds a web page, not an image",
            file=path,
            found=head.lstrip()[:60].decode("utf-8", errors="replace"),
            hint="open it in a browser to see what the server said (often: log in first), then download the image",
        )
