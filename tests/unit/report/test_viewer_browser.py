"""The viewer in a real browser: what it draws, pixel by pixel, and what it says; skipped where there is no Chromium."""

import io
from functools import cache

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from helpers import viewer_cases as cases
from helpers.browser import NO_WEBGL, open_page
from voxelwhy.io.images import Grid
from voxelwhy.report.viewer.page import colour_maps

GRID = Grid.icbm(4)
READY = "document.documentElement.dataset.ready"
SHOWN = "document.documentElement.dataset.shown"
#: Of 255; blending and rounding on the graphics card.
TOLERANCE = 6
CROSSHAIR = np.array([89, 217, 115])
#: Axes of the slices from left to right: across, up, and through.
SLICES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    return cases.write_case(folder, folder / "viewer.html")


@pytest.fixture(scope="module")
def page(path):
    with open_page(path, viewport={"width": 1500, "height": 900}) as page:
        page.wait_for_function(READY)
        yield page
        assert page.faults == []
        assert [address for address in page.asked if not address.startswith(("file:", "blob:", "data:"))] == []


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def choose(page, list_name, title, shown):
    page.select_option(f"#{list_name}", label=title)
    page.wait_for_function(f"{SHOWN} === '{shown}'")
    settle(page)


def slide(page, name, value):
    page.evaluate(
        "([name, value]) => { const own = document.getElementById(name); own.value = value;"
        " own.dispatchEvent(new Event('input', { bubbles: true })); }",
        [name, value],
    )
    settle(page)


def crosshair(page):
    return [float(page.input_value(f"#{axis}")) for axis in "xyz"]


def go_to(page, mm):
    for axis, value in zip("xyz", mm, strict=True):
        page.fill(f"#{axis}", str(value))
        page.locator(f"#{axis}").press("Enter")
    page.locator(f"#{axis}").blur()
    settle(page)


def under(page):
    """The rows of the table at the crosshair."""
    return [row.split("\t") for row in page.inner_text("#under").splitlines()]


def picture(page, view="view-0"):
    """What a view shows: (rows, columns, red green blue), of 255."""
    shot = page.locator(f"#{view} canvas").screenshot()
    return np.rint(matplotlib.image.imread(io.BytesIO(shot))[..., :3] * 255)


def crossings(shot):
    """The column and the row at which the lines of the crosshair cross, in each of three slices from left to right."""
    green = np.abs(shot - CROSSHAIR).max(axis=2) < 4
    columns = np.flatnonzero(green.mean(axis=0) > 0.3)
    lines = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert len(lines) == len(SLICES), lines
    found = []
    for line in lines:
        near = np.r_[line[0] - 60 : line[0] - 20, line[-1] + 20 : line[-1] + 60]
        rows = np.flatnonzero(green[:, near].mean(axis=1) > 0.6)
        found.append((line.mean(), rows.mean()))
    return np.array(found)


@pytest.fixture(scope="module")
def scales(page):
    """For each slice, {"column" or "row": (pixel at 0 mm, pixels a mm)}, from the crosshair at two places."""
    here, there = np.array([-34.0, 24.0, 4.0]), np.array([34.0, -52.0, 40.0])
    at = []
    for place in (here, there):
        go_to(page, place)
        at.append(crossings(picture(page)))
    scales = []
    for number, (across, up, _) in enumerate(SLICES):
        own = {}
        for position, (name, axis) in enumerate((("column", across), ("row", up))):
            step = (at[1][number, position] - at[0][number, position]) / (there[axis] - here[axis])
            own[name] = (at[0][number, position] - step * here[axis], step)
        scales.append(own)
    # Millimetres are equally long everywhere; right, anterior and superior are to the right or up.
    assert np.ptp([abs(step) for own in scales for _, step in own.values()]) < 0.05
    assert all(own["column"][1] > 0 > own["row"][1] for own in scales)
    return scales


def compare(page, scales, group, mm, **how):
    """Compare the three slices through a place with the map, pixel by pixel; returns how many of each kind were."""
    go_to(page, mm)
    shot, kinds = picture(page), {"block": 0, "brain": 0}
    for own, (across, up, _) in zip(scales, SLICES, strict=True):
        for first in np.arange(-64, 66, 5.0):
            for second in np.arange(-96, 70, 5.0):
                place = np.array(mm, dtype=float)
                place[across], place[up] = first, second
                expected = expected_pixel(group, place, **how)
                if expected is None or min(abs(place[axis] - mm[axis]) for axis in (across, up)) < 4:
                    continue
                column, row = (
                    round(start + step * at) for (start, step), at in ((own["column"], first), (own["row"], second))
                )
                assert np.abs(shot[row, column] - expected).max() <= TOLERANCE, (place, shot[row, column], expected)
                kinds["brain" if np.ptp(expected) < 1 else "block"] += 1
    return kinds


@cache
def volumes(group):
    return cases.map_of(GRID, group), cases.labels_of(GRID), cases.brain_of(GRID)


@cache
def limits(group, percentile):
    """Where the colours begin and end: half a step above this percentile of the brain, and at the largest value.

    Maps are stored in 127 steps on the scale of the square root.
    """
    values, _, brain = volumes(group)
    sizes = np.abs(values[brain])
    low, top = np.percentile(sizes, percentile, method="inverted_cdf"), sizes.max()
    return ((127 * np.sqrt(low / top) + 0.5) / 127) ** 2 * top, top


def expected_pixel(group, mm, *, percentile, opacity=0.8):
    """The colour that is drawn at a place, if all voxels within 2.1 mm of it look alike, else None.

    NiiVue takes the nearest voxel of the map for each voxel of the template, and interpolates colours between these.
    """
    values, labels, brain = volumes(group)
    low, high = limits(group, percentile)
    near = mm + 2.1 * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    own = np.rint(nib.affines.apply_affine(np.linalg.inv(GRID.affine), near)).astype(int)
    inside = np.all((own >= 0) & (own < GRID.shape), axis=1)
    if not inside.all() or len(set(labels[tuple(own.T)])) > 1 or not brain[tuple(own.T)].all() or abs(mm[0]) < 4:
        return None
    value, grey = values[tuple(own[0])], 128 if mm[0] < 0 else 255
    if abs(value) <= low:
        return np.full(3, grey)
    colours = colour_maps()["positive" if value > 0 else "negative"]
    at = 255 * min((abs(value) - low) / (high - low), 1)
    colour = np.array([np.interp(at, colours["I"], colours[name]) for name in "RGB"])
    return (1 - opacity) * grey + opacity * colour


def test_it_opens_at_the_region_with_the_first_rank(page):
    assert page.inner_text("#region") == "Right front </script>"
    values = np.abs(cases.map_of(GRID, "AD")[cases.brain_of(GRID)])
    percentile = f"{100 * np.mean(values < 0.35):.0f}"
    assert under(page) == [["Occlusion, AD scans", "0.35", percentile, "1 of 3", "4.25"]]
    assert page.inner_text("#ranked") == "Occlusion, AD scans; n = 12 subjects, 15 scans"
    rows = page.locator("#regions tr").all_inner_texts()
    assert rows[0].split("\t") == ["1", "Right front </script>", "4.25 (3.50 to 5.00)"] and len(rows) == 3


def test_the_crosshair_reads_region_value_and_rank(page):
    go_to(page, (-32, 24, 12))
    assert page.inner_text("#region") == "Left front"
    assert under(page)[0][1:] == ["1.0", under(page)[0][2], "2 of 3", "2.50"]
    go_to(page, (32, -56, 20))
    assert page.inner_text("#region") == "Right back"
    assert under(page)[0][1] == "−0.75" and under(page)[0][3:] == ["3 of 3", "–"]
    go_to(page, (0, -18, 20))
    assert page.inner_text("#region") == "no region of the atlas"
    assert under(page)[0][3:] == ["–", "–"]


def test_a_click_on_a_region_moves_the_crosshair_into_it(page):
    for name, block in cases.BLOCKS.items():
        page.get_by_role("button", name=name, exact=True).click()
        assert page.inner_text("#region") == name
        assert all(low <= value <= high for value, (low, high) in zip(crosshair(page), block, strict=True))
        assert page.locator("tr[aria-current]").count() == 1


def test_pixels_are_those_of_the_map_over_the_template(page, scales):
    slide(page, "threshold", 90)  # 0, because more than nine tenths of the brain are
    for mm in ((-32, 24, 12), (32, -56, 20)):
        kinds = compare(page, scales, "AD", mm, percentile=90)
        assert kinds["block"] >= 20 and kinds["brain"] >= 200, kinds


def test_a_higher_threshold_hides_small_values_and_opacity_blends(page, scales):
    slide(page, "threshold", 94)  # 0.35; the blocks are 6.4 % of the brain
    assert "percentile 94" in page.inner_text("#threshold-says")
    hidden = compare(page, scales, "AD", (32, 24, 44), percentile=94)
    slide(page, "threshold", 90)
    slide(page, "opacity", 50)
    shown = compare(page, scales, "AD", (32, 24, 44), percentile=90, opacity=0.5)
    slide(page, "opacity", 80)
    assert shown["block"] >= hidden["block"] + 15 and sum(shown.values()) == sum(hidden.values())


def test_another_group_is_another_map(page, scales):
    go_to(page, (-32, 24, 12))
    choose(page, "group-0", "CN scans", "1")
    assert page.inner_text("#region") == "Left front"
    assert under(page)[0][:2] == ["Occlusion, CN scans", "−0.60"]
    kinds = compare(page, scales, "CN", (-32, 24, 12), percentile=90)
    assert kinds["block"] >= 20, kinds
    choose(page, "group-0", "AD scans", "0")


def n_like(shot, colour):
    return np.count_nonzero(np.abs(shot - colour).max(axis=2) <= TOLERANCE)


def test_two_maps_side_by_side_share_the_crosshair(page):
    choose(page, "method-1", "Occlusion", "0,0")
    choose(page, "group-1", "CN scans", "0,1")
    page.get_by_role("button", name="Left front", exact=True).click()
    settle(page)
    assert [row[0] for row in under(page)] == ["Occlusion, AD scans", "Occlusion, CN scans"]
    assert [row[1] for row in under(page)] == ["1.0", "−0.60"]
    # Each view shows the block in the colour of its own map, and not in that of the other.
    colours = [expected_pixel(group, np.array([-34, 24, 14]), percentile=90) for group in ("AD", "CN")]
    for number in (0, 1):
        shot = picture(page, f"view-{number}")
        own, other = (n_like(shot, colours[which]) for which in (number, 1 - number))
        assert own > 1000 and other < own / 10, (own, other)
    choose(page, "method-1", "Planted truth: planted atrophy", "0,2")
    page.get_by_role("button", name="Left front", exact=True).click()
    assert under(page)[1] == ["Planted truth: planted atrophy", "1.0", under(page)[1][2], "–", "–"]
    choose(page, "method-1", "none", "0")
    assert len(under(page)) == 1


def test_a_click_in_a_slice_moves_the_crosshair_there(page, scales):
    go_to(page, (-32, 24, 12))
    box, own = page.locator("#view-0 canvas").bounding_box(), scales[0]  # the axial slice: x and y
    column, row = (own[name][0] + own[name][1] * at for name, at in (("column", 30), ("row", -56)))
    page.mouse.click(box["x"] + column, box["y"] + row)
    settle(page)
    assert np.abs(np.array(crosshair(page)) - [30, -56, 12]).max() < 1.5
    assert page.inner_text("#region") == "Right back"


def test_without_webgl_the_figure_stands_in_its_place(path):
    with open_page(path, NO_WEBGL) as page:
        page.wait_for_function(f"{READY} === 'static'")
        assert page.locator(".instead img").is_visible() and page.locator("form").is_hidden()
        assert "no WebGL2" in page.inner_text("#reason")


def test_twenty_maps_are_ready_within_three_seconds(tmp_path):
    """Of processor time of the page, so that other jobs on the machine do not count; drawing in software is counted."""
    grid = Grid.icbm(2)
    brain = cases.brain_of(grid)
    rng = np.random.default_rng(3)
    groups = {}
    for group in ("AD", "CN"):
        images = [nib.Nifti1Image((rng.normal(size=grid.shape) * brain).astype("f4"), grid.affine) for _ in range(10)]
        groups[group] = [cases.viewed(image, f"Method {n}", group) for n, image in enumerate(images)]
    fine = Grid.icbm(1)
    given = {"mask": cases.save(brain, grid, tmp_path / "mask.nii.gz")}
    given |= {"background": cases.save(cases.background_of(fine), fine, tmp_path / "t1.nii.gz")}
    out = cases.write_case(tmp_path, tmp_path / "many.html", groups=groups, **given)
    with open_page(out) as page:
        page.wait_for_function(READY)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        figures = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
        assert page.faults == []
        assert 0 < figures["ProcessTime"] < 3, (figures["ProcessTime"], page.evaluate(READY))
