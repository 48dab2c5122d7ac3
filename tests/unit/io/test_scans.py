"""Reading scans of every format, and refusing what can be no head or brain with the figure that gave it away."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from helpers.templates import template_on
from voxelwhy.cohort.readers._files import find_images
from voxelwhy.cohort.readers._reading import is_image
from voxelwhy.errors import InputError
from voxelwhy.io.scans import looks_skull_stripped, read_scan


@pytest.fixture(scope="module")
def brain():
    """The template at 4 mm, in whole numbers."""
    t1, _ = template_on(4)
    return nib.Nifti1Image(np.rint(t1.get_fdata() * 1000).astype(np.int16), t1.affine)


@pytest.fixture(scope="module")
def head():
    """A brain in a skull: fluid, 9 mm of bone without signal and 7 mm of bright scalp around the template at 3 mm."""
    t1, mask = template_on(3)
    inside = np.pad(np.asarray(mask.dataobj) > 0, 10)
    far = distance_transform_edt(~inside, sampling=3)
    data = np.pad(t1.get_fdata(), 10) + 0.25 * ((far > 0) & (far <= 3)) + 0.08 * ((far > 3) & (far <= 12))
    data += 0.9 * ((far > 12) & (far <= 19))
    affine = t1.affine.copy()
    affine[:3, 3] -= 30
    return nib.Nifti1Image(data.astype(np.float32), affine)


def lying(image, axes):
    """The image with its voxel axes running along `axes`."""
    wanted = nib.orientations.axcodes2ornt(axes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mgz", "mgh"])
def test_nifti_and_mgz_come_back_in_ras(tmp_path, brain, ending):
    turned = lying(brain, ("P", "S", "L"))
    kind = nib.MGHImage if ending.startswith("mg") else nib.Nifti1Image
    nib.save(kind(np.asarray(turned.dataobj).astype(np.float32), turned.affine), tmp_path / f"scan.{ending}")
    scan = read_scan(tmp_path / f"scan.{ending}")
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")
    np.testing.assert_allclose(scan.affine, brain.affine, atol=1e-4)
    np.testing.assert_array_equal(scan.get_fdata(), brain.get_fdata())
    stored = read_scan(tmp_path / f"scan.{ending}", reorient=False)
    assert nib.aff2axcodes(stored.affine) == ("P", "S", "L")


def test_one_volume_of_four_axes_is_squeezed(tmp_path, brain):
    nib.save(nib.Nifti1Image(np.asarray(brain.dataobj)[..., None], brain.affine), tmp_path / "scan.nii")
    assert read_scan(tmp_path / "scan.nii").shape == brain.shape


def save_analyze(path, brain, axes, orient, endianness="<"):
    """An Analyze pair as it lies on disk when its voxel axes run along `axes`, with that `orient`."""
    turned = lying(brain, axes)
    header = nib.AnalyzeHeader(endianness=endianness)
    header.set_data_dtype(np.int16)
    image = nib.AnalyzeImage(np.asarray(turned.dataobj)[..., None], None, header)
    image.header.set_zooms((*nib.affines.voxel_sizes(turned.affine), 1))
    image.header["orient"] = bytes([orient])
    nib.save(image, path)


@pytest.mark.parametrize(
    ("axes", "orient"),
    [(("L", "A", "S"), 0), (("L", "S", "A"), 1), (("A", "S", "L"), 2)],
    ids=["t88", "coronal", "raw"],
)
@pytest.mark.parametrize("ending", ["img", "hdr"])
def test_analyze_by_its_orient(tmp_path, brain, axes, orient, ending, caplog):
    """OASIS: raw images are sagittal (P to A, I to S, R to L), those in atlas space transverse; both big-endian."""
    save_analyze(tmp_path / "scan.img", brain, axes, orient, endianness=">")
    with caplog.at_level(logging.WARNING):
        scan = read_scan(tmp_path / f"scan.{ending}")
    np.testing.assert_array_equal(scan.get_fdata(), brain.get_fdata())
    np.testing.assert_allclose(nib.affines.voxel_sizes(scan.affine), 4)
    middle = nib.affines.apply_affine(scan.affine, (np.array(scan.shape) - 1) / 2)
    assert np.abs(middle).max() <= 4
    assert caplog.text.count("does not distinguish left from right") == 1


def test_analyze_is_an_affine_where_spm_left_one(tmp_path, brain, caplog):
    save_analyze(tmp_path / "scan.img", brain, ("L", "A", "S"), 2)
    image = nib.Spm2AnalyzeImage(np.asarray(brain.dataobj), brain.affine)
    image.header["orient"] = b"\x02"
    nib.save(image, tmp_path / "spm.img")
    assert (tmp_path / "spm.mat").exists()
    np.testing.assert_allclose(read_scan(tmp_path / "spm.img").affine, brain.affine, atol=1e-4)
    nib.save(nib.Nifti1Pair(np.asarray(brain.dataobj), brain.affine), tmp_path / "pair.img")
    caplog.clear()
    np.testing.assert_allclose(read_scan(tmp_path / "pair.hdr").affine, brain.affine, atol=1e-4)
    assert "left from right" not in caplog.text


def test_an_orientation_that_is_none_is_refused(tmp_path, brain):
    save_analyze(tmp_path / "scan.img", brain, ("L", "A", "S"), 4)
    with pytest.raises(InputError, match=r"invalid orientation[\s\S]*found: +4[\s\S]*0 \(transverse\), 1"):
        read_scan(tmp_path / "scan.img")


def save_dicom(folder, data, voxels, *, series="T1", gaps=None, first=0, bits=12):
    """A DICOM series of axial slices of `data` (x to the left, y to the back, z up)."""
    folder.mkdir(parents=True, exist_ok=True)
    study, uid, frame = generate_uid(), generate_uid(), generate_uid()
    places = np.arange(data.shape[2]) * voxels[2] if gaps is None else np.asarray(gaps)
    for number in range(data.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        d.SOPClassUID, d.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, uid, frame
        d.PatientID, d.PatientName, d.Modality, d.Manufacturer = "1", "one", "MR", "SIEMENS"
        d.StudyDate, d.StudyTime, d.SeriesDescription, d.ProtocolName = "20060102", "101010", series, series
        d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber = 2 + first, 1, number + 1
        d.ImageType, d.ScanningSequence, d.MRAcquisitionType = ["ORIGINAL", "PRIMARY", "M"], "GR", "3D"
        d.EchoTime, d.RepetitionTime, d.SliceThickness = 3.0, 2300.0, float(voxels[2])
        d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        d.ImagePositionPatient = [-90.0, -110.0, float(places[number]) - 70]
        d.PixelSpacing = [float(voxels[1]), float(voxels[0])]
        d.Rows, d.Columns = data.shape[1], data.shape[0]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, bits, bits - 1, 0
        d.PixelData = np.ascontiguousarray(data[:, :, number].T.astype(np.uint16)).tobytes()
        pydicom.dcmwrite(folder / f"{series}_{number:03d}.dcm", d, enforce_file_format=True)


@pytest.fixture
def slices(brain):
    """The brain's voxels as a DICOM series has them: x to the left, y to the back, z up."""
    return np.asarray(brain.dataobj)[::-1, ::-1]


def test_a_dicom_folder_is_a_scan(tmp_path, brain, slices, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    save_dicom(tmp_path / "series", slices, (4, 4, 4))
    before = sorted(tmp_path.rglob("*"))
    scan = read_scan(tmp_path / "series")
    np.testing.assert_array_equal(scan.get_fdata(), brain.get_fdata())
    # The last row and column of a slice are the first of RAS: (-90, -110) mm in LPS, and 48 and 57 voxels further on.
    far = [-(-90 + 4 * (brain.shape[0] - 1)), -(-110 + 4 * (brain.shape[1] - 1)), -70]
    np.testing.assert_allclose(scan.affine, [[4, 0, 0, far[0]], [0, 4, 0, far[1]], [0, 0, 4, far[2]], [0, 0, 0, 1]])
    assert sorted(tmp_path.rglob("*")) == before


def test_uneven_slices_are_evened_out_or_refused(tmp_path, slices):
    """A slice is missing: what counts is where the others lie."""
    places = 4.0 * np.delete(np.arange(slices.shape[2]), 24)
    kept = np.delete(slices, 24, axis=2)
    save_dicom(tmp_path / "series", kept, (4, 4, 4), gaps=places)
    scan, whole = read_scan(tmp_path / "series").get_fdata(), slices[::-1, ::-1]
    assert scan.shape == whole.shape
    assert np.corrcoef(scan[..., 30:].ravel(), whole[..., 30:].ravel())[0, 1] > 0.999
    save_dicom(tmp_path / "wide", kept, (4, 4, 4), gaps=places, bits=16)
    with pytest.raises(InputError, match=r"cannot be converted faithfully[\s\S]*not equidistant: 4 != 8"):
        read_scan(tmp_path / "wide")


def test_a_series_with_missing_images_is_refused_in_the_words_of_dcm2niix(tmp_path, slices):
    """The numbers of the images tell of the missing ones, even where the rest lie evenly."""
    save_dicom(tmp_path / "series", slices, (4, 4, 4))
    for path in sorted((tmp_path / "series").iterdir())[20:26]:
        path.unlink()
    with pytest.raises(InputError, match=r"cannot be converted faithfully[\s\S]*Missing images\?|not equidistant"):
        read_scan(tmp_path / "series")


def test_a_dicom_folder_needs_no_endings(tmp_path, brain, slices):
    save_dicom(tmp_path / "series", slices, (4, 4, 4))
    for number, path in enumerate(sorted((tmp_path / "series").iterdir())):
        path.rename(path.with_name(f"1.3.12.2.1107.{number}"))
    assert is_image(str(tmp_path / "series"))
    (image,) = find_images(str(tmp_path))
    assert image["path"] == str(tmp_path / "series")
    np.testing.assert_array_equal(read_scan(image["path"]).get_fdata(), brain.get_fdata())


def test_a_dicom_folder_of_two_series_is_refused_with_what_came_out(tmp_path, slices):
    save_dicom(tmp_path / "session", slices, (4, 4, 4), series="T1")
    save_dicom(tmp_path / "session", slices, (4, 4, 4), series="repeat", first=5)
    with pytest.raises(InputError, match=r"not one DICOM series[\s\S]*49 x 58 x 49, 49 x 58 x 49|49 x 58 x 49; 49 x"):
        read_scan(tmp_path / "session")


def test_a_localiser_beside_the_series_does_no_harm_and_is_none_alone(tmp_path, slices):
    save_dicom(tmp_path / "both", slices, (4, 4, 4))
    for folder in ("both", "localiser"):
        save_dicom(tmp_path / folder, slices[..., 20:23], (4, 4, 4), series="scout", first=1)
    assert read_scan(tmp_path / "both").shape == (49, 58, 49)
    with pytest.raises(InputError, match=r"too few slices[\s\S]*49 x 58 x 3") as error:
        read_scan(tmp_path / "localiser")
    assert "localiser" in str(error.value)


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("nothing here")
    with pytest.raises(InputError, match=r"not one DICOM series[\s\S]*no volume; dcm2niix: Error: .*DICOM"):
        read_scan(tmp_path / "empty")


def noise(brain, rng):
    return rng.uniform(0, 800, brain.shape), brain.affine


def labels(brain, rng):
    blocks = np.kron(rng.integers(0, 90, (13, 15, 13)), np.ones((4, 4, 4)))
    return blocks[tuple(slice(n) for n in brain.shape)], brain.affine


def with_edges(*edges):
    def change(brain, rng):
        return brain.get_fdata(), np.diag([*edges, 1.0])

    return change


def small_blob(brain, rng):
    data = np.zeros(brain.shape)
    data[20:25, 20:25, 20:25] = 1
    return gaussian_filter(data, 1.5) * 1000, brain.affine


IMPLAUSIBLE = {
    "localiser": (lambda b, r: (b.get_fdata()[..., 20:23], b.affine), "too few slices", "49 x 58 x 3"),
    "a few slices": (lambda b, r: (b.get_fdata()[..., 15:34], b.affine), "too few slices", "49 x 58 x 19"),
    "in metres": (with_edges(0.004, 0.004, 0.004), "field of view", "0.196 x 0.232 x 0.196 mm"),
    "in micrometres": (with_edges(4000, 4000, 4000), "field of view", "1.96e"),
    "ten millimetres": (with_edges(4, 4, 10), "too coarse or too oblong", "4 x 4 x 10 mm"),
    "clinical slices": (with_edges(2, 2, 8.5), "too coarse or too oblong", "2 x 2 x 8.5 mm"),
    "mask": (lambda b, r: (b.get_fdata() > 0, b.affine), "labels or a mask", "100% of neighbouring"),
    "labels": (labels, "labels or a mask", "% of neighbouring"),
    "noise": (noise, "no anatomy", r"correlate at -?0\.0"),
    "small blob": (small_blob, "no head or brain", r"\d+ cm³ above"),
}


@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_an_implausible_image_is_refused_with_its_figure(tmp_path, brain, rng, name):
    change, problem, figure = IMPLAUSIBLE[name]
    data, affine = change(brain, rng)
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), affine), tmp_path / "odd.nii.gz")
    with pytest.raises(InputError, match=rf"{problem}[\s\S]*odd.nii.gz[\s\S]*found: .*{figure}[\s\S]*allowed"):
        read_scan(tmp_path / "odd.nii.gz")


@pytest.mark.parametrize("resolution", [2, 4, 6])
def test_brains_of_any_resolution_pass_as_brains(tmp_path, resolution, rng):
    t1, mask = template_on(resolution)
    inside = np.asarray(mask.dataobj) > 0
    noisy = np.where(inside, np.hypot(t1.get_fdata() + rng.normal(0, 0.03, t1.shape), 0.03), 0) * 500
    nib.save(nib.Nifti1Image(noisy.astype(np.float32), t1.affine), tmp_path / "brain.nii")
    stripped, cm3 = looks_skull_stripped(read_scan(tmp_path / "brain.nii"))
    assert stripped
    assert cm3 == pytest.approx(inside.sum() * resolution**3 / 1000, rel=0.01)


def changed(image, data):
    return nib.Nifti1Image(np.asarray(data, np.float32), image.affine)


def test_brains_on_odd_backgrounds_are_brains(brain, rng):
    data = brain.get_fdata()
    remains = rng.normal(0, 1e-6, data.shape)  # what an interpolation leaves outside
    for other in (data + remains, data - 1024, np.pad(data, 25), (data - data.mean()) / data.std()):
        stripped, cm3 = looks_skull_stripped(changed(brain, other))
        assert stripped and cm3 == pytest.approx(1880, rel=0.02)


def test_whole_heads_are_heads(head, rng):
    data = head.get_fdata()
    _, y, z = np.meshgrid(*map(np.arange, data.shape), indexing="ij")
    # Bone counts too: it differs from the background by more than 2 %.
    assert looks_skull_stripped(head) == (False, pytest.approx((data > 0).sum() * 0.027, rel=0.001))
    faceless = np.where((y > 70) & (z < 30), 0, data)
    assert looks_skull_stripped(changed(head, faceless))[0] is False
    noisy = np.hypot(data + rng.normal(0, 0.04, data.shape), rng.normal(0, 0.04, data.shape))
    assert looks_skull_stripped(changed(head, noisy))[0] is False
    # A small head has the volume of a large brain; the bone tells.
    small = nib.Nifti1Image(head.get_fdata(dtype=np.float32), head.affine * np.array([0.8, 0.8, 0.8, 1]))
    stripped, cm3 = looks_skull_stripped(small)
    assert not stripped and cm3 < 2100


def test_a_brain_in_a_loose_mask_is_a_brain(brain):
    """A rim of dark fluid, as a generous extraction leaves it, is no skull: it has nothing bright around it."""
    data = brain.get_fdata()
    inside = data > 0
    rim = binary_dilation(inside, iterations=1) & ~inside
    assert looks_skull_stripped(changed(brain, data + 150 * rim))[0] is True


MRICRON = Path("/usr/share/mricron/templates")


@pytest.mark.skipif(not (MRICRON / "ch2.nii.gz").exists(), reason="Debian's mricron-data is not installed")
def test_a_real_head_and_its_brain(tmp_path):
    assert looks_skull_stripped(read_scan(MRICRON / "ch2.nii.gz")) == (False, pytest.approx(4152, rel=0.01))
    assert looks_skull_stripped(read_scan(MRICRON / "ch2bet.nii.gz")) == (True, pytest.approx(1737, rel=0.01))
    head = nib.load(MRICRON / "ch2.nii.gz")
    data, z = head.get_fdata(dtype=np.float32), np.arange(head.shape[2]) + head.affine[2, 3]
    neckless = nib.Nifti1Image(np.where(z < -45, 0, data), head.affine * np.array([0.85, 0.85, 0.85, 1]))
    stripped, cm3 = looks_skull_stripped(neckless)
    assert not stripped and cm3 < 2400
