"""Slices and films: which slices, which values, which colours are drawn."""

import pickle
from pathlib import Path

import matplotlib
import nbformat
import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.animation import FuncAnimation
from nbclient import NotebookClient

import voxelwhy
from voxelwhy import animate_slices, plot_slices
from voxelwhy.errors import ConfigError, ShapeError

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def volume(rng):
    return rng.normal(100, 20, (9, 12, 7)).astype(np.float32)


@pytest.fixture
def relevance(rng):
    heatmap = np.zeros((9, 12, 7), np.float32)
    heatmap[2:6, 3:8, 1:5] = rng.uniform(0.1, 1, (4, 5, 4))
    return heatmap


def cells(figure):
    """The axes that hold images, in the order of reading."""
    return [axes for axes in figure.axes if axes.images]


def label(axes):
    return axes.texts[0].get_text()


def rgba(artist, value):
    """The colour that an artist gives to a value."""
    return artist.cmap(artist.norm(value))


def test_the_slices_are_the_middles_of_equal_parts_along_each_axis(volume):
    drawn = cells(plot_slices(volume, num_slices=3))
    where = {"x": (1, 4, 7), "y": (2, 6, 10), "z": (1, 3, 5)}
    assert [label(axes) for axes in drawn] == [f"{name}={i}" for name in "xyz" for i in where[name]]
    for axes in drawn:
        name, index = label(axes).split("=")
        wanted = np.take(volume, int(index), axis="xyz".index(name)).T[::-1]  # the first axis to the right
        assert np.array_equal(axes.images[0].get_array(), wanted)
        assert len(axes.images) == 1


def test_seven_slices_and_the_range_of_the_whole_image(volume):
    drawn = cells(plot_slices(volume))
    assert len(drawn) == 21
    assert {axes.images[0].get_clim() for axes in drawn} == {(float(volume.min()), float(volume.max()))}
    assert {axes.images[0].cmap.name for axes in drawn} == {"gray"}
    drawn = cells(plot_slices(volume, 2, "bone", 50, 120))
    assert {(axes.images[0].get_clim(), axes.images[0].cmap.name) for axes in drawn} == {((50, 120), "bone")}


def test_an_axis_with_fewer_slices_shows_each_of_them_once(volume):
    drawn = [label(axes) for axes in cells(plot_slices(volume, 10))]
    assert [text for text in drawn if text[0] == "z"] == [f"z={i}" for i in range(7)]
    assert [text for text in drawn if text[0] == "x"] == [f"x={i}" for i in range(9)]
    assert len({text for text in drawn if text[0] == "y"}) == 10


def test_an_overlay_without_negative_values_is_transparent_at_zero(volume, relevance):
    for axes in cells(plot_slices(volume, 4, overlay=relevance)):
        name, index = label(axes).split("=")
        wanted = np.take(relevance, int(index), axis="xyz".index(name)).T[::-1]
        over = axes.images[1]
        assert np.array_equal(over.get_array().filled(0), wanted)
        assert np.array_equal(np.ma.getmaskarray(over.get_array()), wanted == 0)
        top = float(np.percentile(relevance[relevance > 0].astype(float), 99.8))
        assert over.get_clim() == (0, top)
        assert rgba(over, 1e-9)[3] < 0.01
        assert rgba(over, top)[3] > 0.8


def test_a_signed_overlay_has_the_same_scale_on_both_sides_of_zero(volume, relevance):
    signed = relevance.copy()
    signed[3] *= -0.2
    over = cells(plot_slices(volume, 3, overlay=signed))[4].images[1]
    top = float(np.percentile(np.abs(signed[signed != 0].astype(float)), 99.8))
    assert over.get_clim() == (-top, top)
    red, blue = rgba(over, top / 2), rgba(over, -top / 2)
    assert red[0] > 0.8 > 0.3 > red[2] and blue[2] > 0.8 > 0.3 > blue[0]
    assert red[3] == pytest.approx(blue[3], abs=0.02) and red[3] > 0.5
    assert rgba(over, 0)[3] < 0.02


def test_a_single_extreme_voxel_does_not_darken_the_rest(volume, relevance):
    relevance[0, 0, 0] = 1000
    signed = np.random.default_rng(0).normal(size=(30, 30, 30))
    signed[0, 0, 0] = 1000
    figure = plot_slices(np.abs(signed), 2, overlay=signed)
    assert cells(figure)[0].images[1].get_clim()[1] < 5
    assert figure.axes[-1].get_ylabel() == "relevance"
    figure = plot_slices(volume, 2, overlay=relevance, overlay_vmax=1000)
    assert cells(figure)[0].images[1].get_clim() == (0, 1000)


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({"overlay_vmax": 2}, (-2, 2)),
        ({"overlay_vmin": -3}, (-3, 3)),
        ({"overlay_vmin": -1, "overlay_vmax": 2}, (-1, 2)),
        ({"overlay_vmin": 0, "overlay_vmax": 2}, (0, 2)),
        ({"overlay_vmin": -2, "overlay_vmax": 0}, (-2, 0)),
    ],
)
def test_the_range_of_the_overlay_can_be_given(volume, relevance, limits, found):
    over = cells(plot_slices(volume, 3, overlay=relevance - 0.5, **limits))[0].images[1]
    assert over.get_clim() == found
    assert rgba(over, 0)[3] < 0.02  # transparent at 0 wherever that lies
    assert max(rgba(over, found[0])[3], rgba(over, found[1])[3]) > 0.8


def test_colours_of_the_overlay_can_be_given(volume, relevance):
    over = cells(plot_slices(volume, 3, overlay=relevance, overlay_cmap="viridis"))[0].images[1]
    assert over.cmap.name == "viridis"
    assert rgba(over, 0.5)[3] == 1


def test_an_overlay_of_zeros_hides_nothing(volume):
    for axes in cells(plot_slices(volume, 2, overlay=np.zeros_like(volume))):
        assert np.ma.getmaskarray(axes.images[1].get_array()).all()


@pytest.mark.parametrize("shape", [(1, 9, 12, 7), (9, 12, 7, 1), (1, 1, 9, 12, 7)])
def test_a_single_channel_is_left_out(volume, relevance, shape):
    wanted, found = (
        cells(plot_slices(image, 3, overlay=relevance)) for image in (volume, torch.from_numpy(volume).reshape(shape))
    )
    for one, other in zip(wanted, found, strict=True):
        for first, second in zip(one.images, other.images, strict=True):
            assert np.array_equal(first.get_array(), second.get_array())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_with_a_gradient_are_drawn(volume, dtype):
    image = torch.from_numpy(volume).to(dtype).requires_grad_()
    drawn = cells(plot_slices(image, 1, overlay=image))[0].images[0].get_array()
    assert np.array_equal(drawn, image.detach().double().numpy()[4].T[::-1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_cuda_are_drawn(volume):
    drawn = cells(plot_slices(torch.from_numpy(volume).cuda().requires_grad_(), 1))[0].images[0].get_array()
    assert np.array_equal(drawn, volume[4].T[::-1])


def test_nibabel_images_are_drawn_with_their_voxel_size(volume, relevance):
    affine = np.diag([1.0, 2.0, 6.0, 1.0])
    image, heatmap = nib.Nifti1Image(volume, affine), nib.Nifti1Image(relevance, affine)
    sagittal, coronal, axial = cells(plot_slices(image, 1, overlay=heatmap))
    assert [axes.get_aspect() for axes in (sagittal, coronal, axial)] == [3, 6, 2]  # height by width of a voxel
    assert np.array_equal(sagittal.images[0].get_array(), volume[4].T[::-1])
    elsewhere = nib.Nifti1Image(relevance, affine + np.eye(4)[:, [3, 3, 3, 3]])
    with pytest.raises(ShapeError, match="another affine"):
        plot_slices(image, overlay=elsewhere)


def test_a_flat_image_is_drawn_as_it_is(rng):
    image, heatmap = rng.normal(size=(11, 8)), rng.uniform(size=(11, 8))
    (axes,) = cells(plot_slices(image[None], overlay=heatmap))
    assert np.array_equal(axes.images[0].get_array(), image)
    assert np.array_equal(axes.images[1].get_array(), heatmap)
    assert not axes.texts


@pytest.mark.parametrize("first", [True, False])
def test_photos_are_drawn_in_their_colours(rng, first):
    photo = rng.integers(0, 256, (11, 8, 3)).astype(np.uint8)
    given = np.moveaxis(photo, -1, 0) if first else photo
    (axes,) = cells(plot_slices(given, overlay=rng.normal(size=(11, 8))))
    assert np.allclose(axes.images[0].get_array(), photo / 255)
    (axes,) = cells(plot_slices(torch.from_numpy(given / 255.0)))
    assert np.allclose(axes.images[0].get_array(), photo / 255)
    network_sees = (given / 255.0 - 0.5) / 0.25
    (axes,) = cells(plot_slices(network_sees))
    assert np.allclose(
        axes.images[0].get_array(), (photo - photo.min().astype(float)) / (photo.max() - float(photo.min()))
    )
    (axes,) = cells(plot_slices(network_sees, vmin=-2, vmax=2))
    assert np.allclose(axes.images[0].get_array(), photo / 255)


def test_three_slices_under_an_overlay_of_that_shape_are_a_volume(rng):
    volume = rng.normal(size=(3, 9, 8))
    assert len(cells(plot_slices(volume, 2, overlay=volume))) == 6
    assert len(cells(plot_slices(nib.Nifti1Image(volume, np.eye(4)), 2))) == 6
    assert len(cells(plot_slices(volume))) == 1


def test_colours_in_doubt_are_refused_unless_the_overlay_says(rng):
    image = rng.uniform(size=(3, 8, 3))
    with pytest.raises(ShapeError, match="first axis or its last"):
        plot_slices(image)
    (axes,) = cells(plot_slices(image, overlay=np.ones((3, 8))))
    assert np.array_equal(axes.images[0].get_array(), image)
    (axes,) = cells(plot_slices(image, overlay=np.ones((8, 3))))
    assert np.array_equal(axes.images[0].get_array(), np.moveaxis(image, 0, -1))


@pytest.mark.parametrize(
    ("image", "overlay", "message"),
    [
        (np.ones((2, 9, 12, 7)), None, r"shape \(2, 9, 12, 7\); one image is expected"),
        (np.ones(5), None, "one image is expected"),
        (np.ones((9, 12, 7)), np.ones((9, 12, 8)), r"overlay has shape \(9, 12, 8\), the image \(9, 12, 7\)"),
        (np.ones((3, 9, 12)), np.ones((12, 9)), r"overlay has shape \(12, 9\), the image \(9, 12\)"),
        (np.full((9, 12), np.nan), None, "the image contains 108 NaN or infinite values"),
        (np.ones((9, 12)), np.full((9, 12), np.inf), "the overlay contains 108 NaN or infinite values"),
        (np.ones((9, 12), complex), None, "not an array of real numbers, but complex"),
        (np.ones((0, 12)), None, "the image is empty"),
        ([[1, 2], [3]], None, "not an array of numbers"),
    ],
)
def test_what_cannot_be_drawn_says_so(image, overlay, message):
    with pytest.raises(ShapeError, match=message):
        plot_slices(image, overlay=overlay)
    assert not plt.get_fignums()


@pytest.mark.parametrize("options", [{"num_slices": 0}, {"num_slices": 2.5}, {"vmin": 2, "vmax": 1}])
def test_options_out_of_range_are_refused(volume, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        plot_slices(volume, **options)
    assert not plt.get_fignums()


def test_the_figure_can_be_saved_and_passed_on(volume, tmp_path):
    figure = plot_slices(volume, 2)
    figure.savefig(tmp_path / "slices.png")
    assert plt.imread(tmp_path / "slices.png").std() > 0.1
    assert len(cells(pickle.loads(pickle.dumps(figure)))) == 6


def frames(film):
    """What a film shows: (label, image, overlay) of each frame."""
    shown = []
    for index in film.new_frame_seq():
        axes = film._func(index)[0].axes
        shown.append((label(axes), *(np.array(np.ma.filled(drawn.get_array(), 0)) for drawn in axes.images)))
    film._draw_was_started = True  # else it complains that nobody has looked at it
    return shown


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_film_shows_every_slice_once(volume, relevance, axis):
    film = animate_slices(volume, overlay=relevance, axis=axis, interval=80)
    assert isinstance(film, FuncAnimation)
    shown = frames(film)
    assert [text for text, *_ in shown] == [f"{'xyz'[axis]}={i}" for i in range(volume.shape[axis])]
    for index, (_, image, over) in enumerate(shown):
        assert np.array_equal(image, np.take(volume, index, axis).T[::-1])
        assert np.array_equal(over, np.take(relevance, index, axis).T[::-1])
    back = frames(animate_slices(volume, relevance, axis, True))
    assert [text for text, *_ in back] == [text for text, *_ in shown][::-1]
    assert film._interval == 80


def test_a_film_keeps_its_colours_from_slice_to_slice(volume, relevance):
    film = animate_slices(volume, relevance, vmin=0, vmax=200, overlay_vmin=0.1, overlay_vmax=0.6, cmap="bone")
    image, over = film._func(3)[:2]
    assert (image.get_clim(), over.get_clim(), image.cmap.name) == ((0, 200), (0.1, 0.6), "bone")
    page = film._repr_html_()
    assert page.count("data:image/png;base64") == len(volume)
    assert frames(animate_slices(volume))[2][0] == "x=2"


def test_a_film_is_of_a_volume(volume):
    with pytest.raises(ShapeError, match=r"shape \(9, 12\); a volume"):
        animate_slices(volume[..., 0])
    with pytest.raises(ConfigError, match="axis"):
        animate_slices(volume, axis=3)
    with pytest.raises(ConfigError, match="interval"):
        animate_slices(volume, interval=0)
    assert not plt.get_fignums()
    assert [text for text, *_ in frames(animate_slices(volume[:3]))] == ["x=0", "x=1", "x=2"]


def pictures_by_cell(*sources):
    """How many pictures a notebook shows below each of these cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120).execute()
    return [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in notebook.cells]


def test_a_notebook_shows_each_figure_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(voxelwhy.__file__).parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    shown = pictures_by_cell(
        "import numpy as np; from voxelwhy import animate_slices, plot_slices; image = np.eye(5)",
        "plot_slices(image)",
        "figure = plot_slices(image)",
        "for _ in range(2):\n    plot_slices(image)\nNone",
        "figure",
        "film = animate_slices(np.ones((3, 4, 5)))",
        "assert '<script' in film._repr_html_()",
    )
    assert shown == [0, 1, 1, 2, 1, 0, 0]
