"""Tables as they are downloaded: plain, gzipped, inside a zip, or in a folder of dated files."""

from __future__ import annotations

import gzip
import io
import os
import re
import zipfile
import zlib
from pathlib import Path

from voxelwhy.errors import InputError

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
TABLES = (".csv", ".tsv", ".txt")
#: LONI appends the day of the download: ADNIMERGE_09Oct2024.csv.
DATED = r"(_[A-Za-z0-9]+)?\.csv(\.gz)?"


def unpack(path, name=""):
    """The bytes of a table; a gzipped one is unpacked, and so is the only table inside a zip.

    Parameters
    ----------
    path : a file
    name : the beginning of the table's name in a zip that holds several, such as "ADNIMERGE"

    Raises
    ------
    InputError : the file is damaged or a spreadsheet; a zip holds no table, or several of which none or more than one
        begins with `name`.
    """
    content = Path(path).read_bytes()
    try:
        if content.startswith(GZIP):
            return gzip.decompress(content)
        if content.startswith(ZIP):
            return _from_zip(zipfile.ZipFile(io.BytesIO(content)), path, name)
    except zipfile.BadZipFile as error:
        raise InputError(
            "the table is not a text file",
            file=path,
            found="a spreadsheet or a damaged zip",
            hint="save it as 'CSV UTF-8', or download it again",
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            "the packed table is damaged", file=path, found=f"{type(error).__name__}: {error}", hint="download it again"
        ) from error
    return content


def find_table(path, name):
    """The file of a table: `path` itself or, if that is a folder, the only file there that is called `name`.

    Raises
    ------
    InputError : the folder holds no such file, or several.
    """
    if not os.path.isdir(path):
        return path
    found = sorted(file for file in os.listdir(path) if re.fullmatch(name + DATED, file, re.IGNORECASE))
    if len(found) != 1:
        raise InputError(
            f"the folder holds {'several tables' if found else 'no table'} called {name}",
            file=path,
            found=", ".join(found or sorted(os.listdir(path))[:5]),
            allowed=f"one file {name}.csv or {name}_<date>.csv, which may be gzipped",
            hint="name the file itself",
        )
    return os.path.join(path, found[0])


def _from_zip(packed, path, name):
    inside = [entry for entry in packed.namelist() if not entry.startswith("__MACOSX/") and not entry.endswith("/")]
    if "[Content_Types].xml" in inside:
        raise InputError(
            "the table is not a text file", file=path, found="a spreadsheet", hint="save it as 'CSV UTF-8'"
        )
    tables = [entry for entry in inside if entry.lower().endswith(TABLES)]
    named = [entry for entry in tables if os.path.basename(entry).lower().startswith(name.lower())] if name else tables
    if len(named) != 1:
        raise InputError(
            "the zip does not hold exactly one table" + (f" called {name}" if name else ""),
            file=path,
            found=", ".join(tables or inside)[:300] or "nothing",
            allowed="one .csv or .tsv",
            hint="unpack it and name the table itself",
        )
    return packed.read(named[0])
