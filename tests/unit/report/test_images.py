"""Pictures inside the page: their size on the screen, the limit on bytes, and what is compressed first."""

import base64

import pytest

from helpers.report_page import picture
from voxelwhy.errors import InputError
from voxelwhy.report.images import embed_all, embed_image


def n_bytes(pictures):
    return sum(len(one.src.split(",")[1]) for one in pictures.values())


def test_a_small_picture_is_embedded_as_it_is(tmp_path):
    path = picture(tmp_path / "a.png", (300, 150))
    one = embed_image(path, 150)
    assert (one.width, one.height, one.compressed) == (200, 100, False)
    assert base64.b64decode(one.src.removeprefix("data:image/png;base64,")) == path.read_bytes()
    assert embed_all({path: 150}) == {path: one}


def test_pictures_beyond_the_limit_are_compressed_the_largest_first(tmp_path):
    small, large = picture(tmp_path / "s.png", (60, 60)), picture(tmp_path / "l.png", (600, 600), seed=1)
    whole = embed_all({small: 100, large: 100})
    limit = n_bytes(whole) - 1000
    found = embed_all({small: 100, large: 100}, limit)
    assert n_bytes(found) <= limit and found[large].compressed and not found[small].compressed
    assert found[small] == whole[small] and found[large].src.startswith("data:image/webp;")
    assert (found[large].width, found[large].height) == (600, 600), "compression does not change the layout"
    tight = embed_all({small: 100, large: 100}, 40_000)
    assert n_bytes(tight) <= 40_000 and (tight[large].width, tight[large].height) == (600, 600)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no png")
    for path in (tmp_path / "x.png", tmp_path / "none.png"):
        with pytest.raises(InputError, match="cannot be read"):
            embed_all({path: 100})
