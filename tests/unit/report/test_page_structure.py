"""The page as a structure: order, headings, names of everything that can be reached, folding, contrast, size."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.report_page import quality_rows, write_page
from voxelwhy.report import page as page_module
from voxelwhy.report.alt import SEEN, describe_figure
from voxelwhy.report.images import LARGEST_PAGE
from voxelwhy.report.sections import SECTIONS
from voxelwhy.report.strip import EMBEDDED, list_registrations, rank_registrations

CSS = Path(page_module.__file__).with_name("page.css").read_text(encoding="utf-8")
#: Text and ground that lie on each other, by custom properties.
PAIRS = [(text, ground) for text in ("ink", "muted", "accent") for ground in ("ground", "wash")]
PAIRS += [("on-warn", "warn")] + [(kind, f"{kind}-ground") for kind in ("good", "poor", "open")]


class Structure(HTMLParser):
    """Collects start tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Structure(text)


def test_the_page_answers_before_anything_else(text):
    order = ["Simulated data.", "<h1>Why does the network", "How well does", "Where do the", "How far to trust"]
    order += ['id="headline"', "In three sentences", '<section id="performance"', '<section id="registration"']
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert list(SECTIONS)[:1] == ["performance"] and list(SECTIONS)[-2:] == ["methods", "checklist"]
    read = ["performance", "heatmaps", "regions", "trust", "single_scans", "cohort", "registration", "methods"]
    assert [name for name in SECTIONS if name in read] == read


def test_headings_do_not_skip_a_level_and_there_is_one_title(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_all_that_is_seen_or_reached_has_a_name(page):
    images = page.all("img")
    assert all(image["alt"] or image["src"] == "data:," for image in images)
    assert all(any(key in group for key in ("aria-label", "aria-labelledby")) for group in page.all("dialog"))
    groups = [one for one in page.all("div") if one.get("role") == "group"]
    assert all(one["aria-label"] and one["tabindex"] == "0" for one in groups), "wide tables scroll by the keyboard"
    assert {one["aria-label"] for one in groups} == {
        "How far to trust it?",
        "Long, kfold",
        "Short, kfold",
        "Short, paper",
    }
    assert all(header.get("scope") == "col" for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {one["href"] for one in page.all("a")}
    assert {"#performance", "#regions", "#trust", "#main"} <= links
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert page.all("html")[0]["lang"] == "en-GB"


def test_nothing_comes_from_elsewhere(text, page):
    assert "@import" not in text and "url(" not in text and not page.all("link") and not page.all("iframe")
    assert [script for script in page.all("script") if script] == [], "one script, written into the page"
    assert len(page.all("script")) == 1
    for attributes in (attributes for _, attributes in page.tags):
        assert not attributes.get("src", "data:").startswith("http") and not [k for k in attributes if k[:2] == "on"]


def test_long_tables_fold_and_empty_columns_are_told(text):
    assert text.count("<summary>Long: 20 rows</summary>") == 2 and "<summary>Short" not in text
    assert "Not shown, because empty in all rows: Age." in text and ">Age</th>" not in text
    assert '<td class="number" data-key="0.9">0.90 (0.80 to 0.96)<svg class="bar"' in text


def test_registrations_are_sorted_worst_first_and_only_some_are_embedded(tmp_path):
    quality = quality_rows(tmp_path, 30)
    ranked = rank_registrations(quality)
    assert ranked["scan_id"].iloc[0] == "s00" and ranked["correlation_brain"].iloc[1:].is_monotonic_increasing
    unmeasured = rank_registrations(quality.assign(correlation_brain=np.nan))
    assert unmeasured["scan_id"].tolist() == [f"s{n:02d}" for n in range(30)]
    listed = list_registrations(quality, tmp_path / "report.html")
    assert [one.scan_id for one in listed] == ranked["scan_id"].tolist()
    assert listed[0].link == "registered/s00.png" and "not registered" in listed[0].alt
    assert "correlation with the template 0.50" in listed[1].alt
    gone = quality.assign(check=[None, *quality["check"][1:]])
    assert len(list_registrations(gone, tmp_path / "report.html")) == 29


def test_the_worst_are_embedded_and_the_others_are_linked(text, page, tmp_path):
    thumbs = [one["href"] for one in page.all("a") if one.get("class") == "thumb"]
    assert len(thumbs) == EMBEDDED == 24 and thumbs[0] == "registered/s00.png"
    assert "The other 6 scans" in text
    rest = [one["href"] for one in page.all("a") if one["href"].startswith("registered/") and one["href"] not in thumbs]
    assert len(rest) == 6
    few = Structure(write_page(tmp_path, scans=5).read_text(encoding="utf-8"))
    assert len([one for one in few.all("a") if one.get("class") == "thumb"]) == 5


def test_the_page_stays_below_its_limit(tmp_path):
    whole = write_page(tmp_path).stat().st_size
    assert LARGEST_PAGE == 15_000_000
    (tmp_path / "again").mkdir()
    limit = 1_500_000 + 100_000
    small = write_page(tmp_path / "again", largest=limit)
    assert small.stat().st_size < min(whole, limit) and "Compressed for this page" in small.read_text(encoding="utf-8")


def test_every_kind_of_figure_says_what_is_seen():
    assert describe_figure("heatmaps_AD", regions={"AD": {"grad_cam": ["A_L", "B"]}}).endswith(
        "Most relevance: Grad-CAM A L and B."
    )
    assert describe_figure("class_regions") == SEEN["class_regions"] and describe_figure("unheard_of") == ""
    assert describe_figure("truth_map") == SEEN["truth_map"] and describe_figure("regions_CN") == SEEN["regions"]
    assert "one registered scan" in describe_figure("sub-1", category="single_scans")


def colours(block):
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    channels = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_is_readable_in_light_dark_and_print():
    light = colours(CSS)
    blocks = {
        "light": colours(CSS.split("@media (prefers-color-scheme: dark)")[0]),
        "dark": colours(CSS.split("@media (prefers-color-scheme: dark)")[1].split("}\n}")[0]),
        "print": colours(CSS.split("@media print")[1].split("}")[0]),
    }
    assert luminance("#ffffff") == pytest.approx(1) and luminance("#000000") == 0 and light
    worst = []
    for name, own in blocks.items():
        for text, ground in PAIRS:
            if name == "print" and ground == "warn":
                continue  # the banner has no ground in print
            first, second = sorted((luminance(own[text]), luminance(own[ground])), reverse=True)
            worst.append(((first + 0.05) / (second + 0.05), name, text, ground))
    assert min(worst)[0] >= 4.5, min(worst)


def test_pictures_of_failed_and_unmeasured_scans_are_described(tmp_path):
    rows = pd.DataFrame({"scan_id": ["a"], "label": ["CN"], "status": ["ok"], "correlation_brain": [np.nan]})
    (one,) = list_registrations(rows.assign(mask_dice=0.9, check=[str(tmp_path / "a.png")]), tmp_path / "r.html")
    assert "correlation" not in one.alt and one.alt.endswith("overlap of the brain masks 0.90.")
