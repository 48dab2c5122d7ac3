"""The page in a real browser: no accessibility error, sorting, pictures in full; skipped where there is no Chromium."""

from pathlib import Path

import pytest

from helpers.browser import NO_WEBGL, open_page
from helpers.report_page import write_page

SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 400, "height": 850}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page"))


def accessibility_errors(page):
    """What axe-core finds, as (rule, element)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_the_page_has_no_accessibility_error_and_asks_for_nothing(path, size, scheme):
    with open_page(path, NO_WEBGL, viewport=SIZES[size], color_scheme=scheme) as page:
        assert accessibility_errors(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"], "nothing sticks out"
        assert page.faults == []
        assert [address for address in page.asked if not address.startswith("data:")] == [f"file://{path}"]


def test_no_column_of_a_card_is_cut_off_at_any_width(path):
    hidden = "[...document.querySelectorAll('.card, .card .wide')].map((one) => one.scrollWidth - one.clientWidth)"
    with open_page(path, NO_WEBGL, viewport=SIZES["wide"]) as page:
        for width in (1100, 1281, 1300, 1407, 1409, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            found = page.evaluate(hidden)
            assert len(found) >= 3 and not any(found), width


def test_tables_sort_by_the_keyboard_and_pictures_open_in_full(path):
    with open_page(path, NO_WEBGL, viewport=SIZES["wide"], accept_downloads=True) as page:
        table = page.locator("table[data-name='Long, kfold']").first
        page.locator("summary", has_text="Long: 20 rows").first.click()
        header = table.locator("th").nth(1)
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        header.locator("button").press("Enter")
        assert header.get_attribute("aria-sort") == "descending"
        cells = table.locator("tbody tr td:nth-child(2)").all_text_contents()
        values = [float(cell.split()[0]) for cell in cells]
        assert values == sorted(values, reverse=True) and values[0] == 0.19
        table.locator("th button").first.press("Enter")
        names = table.locator("tbody tr td:first-child").all_text_contents()
        assert names == [f"Region_{n}" for n in range(20)], "numbers in names count"
        with page.expect_download() as download:
            page.get_by_role("button", name="Download TSV").first.click()
        lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
        assert lines[0] == "Model\tAUC (95 % CI)\tp" and len(lines) == 3
        page.locator("a.thumb").first.press("Enter")
        assert page.locator("dialog[open] img").get_attribute("alt").startswith("s00, AD: not registered")
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0 and page.faults == []
