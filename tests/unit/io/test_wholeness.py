"""Image files that are damaged, compressed in another way than their name says, or no images at all."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from voxelwhy.errors import InputError
from voxelwhy.io.arrays import read_arrays
from voxelwhy.io.images import read_volume

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def data(rng):
    return rng.normal(100, 20, (12, 13, 14)).astype(np.float32)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.mark.parametrize(("name", "kind"), [("a.nii.gz", nib.Nifti1Image), ("a.mgz", nib.MGHImage)])
def test_one_flipped_bit_is_refused_wherever_it_is(tmp_path, data, rng, name, kind):
    """All but those in the fields of the gzip header that say when and where it was made."""
    nib.save(kind(data, AFFINE), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    begin = whole.index(b"\0", 10) + 1 if whole[3] & 8 else 10  # behind the name of the file
    for place in rng.integers(begin, len(whole), 40):
        (tmp_path / name).write_bytes(flipped(whole, int(place)))
        with pytest.raises(InputError, match=r"cannot be read\n.*" + name):
            read_volume(tmp_path / name)
    (tmp_path / name).write_bytes(whole)
    assert np.array_equal(np.asarray(read_volume(tmp_path / name, reorient=False).dataobj), data)


def test_a_compressed_array_with_a_flipped_bit_is_refused(tmp_path, data, rng):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, mean=data)
    whole = path.read_bytes()
    for place in rng.integers(200, len(whole) - 200, 20):
        path.write_bytes(flipped(whole, int(place)))
        with pytest.raises(InputError, match="cannot be read as arrays"):
            read_arrays(path)
    path.write_bytes(whole)
    assert np.array_equal(read_arrays(path)["mean"], data)


def test_what_a_download_does_not_mend_is_said_as_that(tmp_path, data):
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    cases = {
        "renamed.nii.gz": (content, r"not gzipped, although(.*\n)+.*rename it to renamed.nii$"),
        "twice.nii.gz": (gzip.compress(gzip.compress(content)), r"gzipped twice(.*\n)+.*gunzip"),
        "page.nii.gz": (
            b"\n<!DOCTYPE html><html><title>Log in</title>",
            r"a web page(.*\n)+.*Log in.*(.*\n)+.*browser",
        ),
        "page.nii": (b"<HTML><head>", "a web page"),
        "packed_page.nii.gz": (gzip.compress(b"<html><body>403"), "a web page"),
    }
    for name, (bytes_, match) in cases.items():
        (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(InputError, match=match) as error:
            read_volume(tmp_path / name)
        assert "download it again" not in str(error.value)


def test_complex_images_are_refused(tmp_path, data):
    nib.save(nib.Nifti1Image(data.astype(np.complex64), AFFINE), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"complex numbers(.*\n)+.*complex64(.*\n)+.*magnitude"):
        read_volume(tmp_path / "a.nii")


def oriented(path, data, qform, sform):
    image = nib.Nifti1Image(data, None)
    image.header.set_zooms((2, 2, 2))
    image.set_qform(qform, int(qform is not None))
    image.set_sform(sform, int(sform is not None))
    nib.save(image, path)
    return path


def test_an_image_without_orientation_is_reported_and_refused_where_its_place_matters(tmp_path, data, caplog):
    path = oriented(tmp_path / "a.nii", data, None, None)
    assert read_volume(path).shape == data.shape
    assert "has no orientation (qform and sform are 0)" in caplog.text
    with pytest.raises(InputError, match=r"does not say where it lies(.*\n)+.*qform_code 0 and sform_code 0"):
        read_volume(path, placed=True)


def test_two_orientations_that_disagree_are_reported_with_the_one_that_is_used(tmp_path, data, caplog):
    moved, turned = AFFINE.copy(), AFFINE.copy()
    moved[0, 3] = 3
    read_volume(oriented(tmp_path / "far.nii", data, moved, AFFINE))
    assert "far.nii: qform and sform disagree by up to 3.0 mm; sform is used" in caplog.text
    caplog.clear()
    moved[0, 3], turned[2, 3] = 0.9, 0.2
    read_volume(oriented(tmp_path / "near.nii", data, moved, AFFINE))
    read_volume(oriented(tmp_path / "one.nii", data, turned, None))
    assert not caplog.text
