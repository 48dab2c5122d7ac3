"""Pictures inside the page: as data URIs, within a limit of size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from voxelwhy.errors import InputError

#: Figures are saved at a higher resolution than they are shown at, so that they stay sharp.
SHOWN_DPI = 100
#: Largest size of the page, in bytes, and what is kept of it for text, tables and scripts.
LARGEST_PAGE, TEXT = 15_000_000, 1_500_000
#: Compression of the pictures if they are too large together: each step is tried on the largest first.
QUALITIES = (85, 60, 35)


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its data URI, its width and height in CSS pixels, and whether it lost detail."""

    src: str
    width: int
    height: int
    compressed: bool = False


def embed_image(path, dpi):
    """A png as a Picture.

    Raises
    ------
    InputError
        The file does not exist or is not a png.
    """
    content = _read(path)
    width, height = _size(content, path)
    return Picture(_uri(content, "png"), round(width * SHOWN_DPI / dpi), round(height * SHOWN_DPI / dpi))


def embed_all(paths, limit=LARGEST_PAGE - TEXT):
    """Embed pictures so that together they have at most `limit` bytes in the page.

    As long as they are too large, the largest are compressed (WebP), and in the last step also halved. A study with few
    scans and methods is never compressed.

    Parameters
    ----------
    paths : {path of a png: its dpi}
    limit : int, bytes of all data URIs

    Returns
    -------
    {path: Picture}
    """
    raw = {path: _read(path) for path in paths}
    content = {path: (data, "png") for path, data in raw.items()}
    steps = [*((quality, 1) for quality in QUALITIES), (QUALITIES[-1], 2), (QUALITIES[-1], 4)]
    for quality, smaller in steps:
        for path in sorted(raw, key=lambda path: (-len(content[path][0]), str(path))):
            if sum(_encoded(data) for data, _ in content.values()) <= limit:
                break
            again = _compressed(raw[path], quality, smaller, path)
            if len(again) < len(content[path][0]):
                content[path] = (again, "webp")
    found = {}
    for path, (data, kind) in content.items():
        width, height = (round(side * SHOWN_DPI / paths[path]) for side in _size(raw[path], path))
        found[path] = Picture(_uri(data, kind), width, height, kind != "png")
    return found


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return InputError("a figure of the report cannot be read", file=path, found=str(error))


def _size(content, path):
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return image.size
    except (OSError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def _compressed(content, quality, smaller, path):
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise _unreadable(path, error) from error
    if smaller > 1:
        picture = picture.reduce(smaller)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def _encoded(content):
    return 4 * -(-len(content) // 3)


def _uri(content, kind):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
