"""Which works a study cites."""

import pytest

from voxelwhy.registry import METHODS
from voxelwhy.report import citations, works
from voxelwhy.report.atlas_works import WORKS
from voxelwhy.report.citations import choose_citations

LISTS = (WORKS, works.CITATIONS, works.STATISTICS, works.OF_FOLDS, works.OF_SCORES, works.OF_REGIONS)


def test_every_work_is_listed_once_and_every_method_has_one():
    keys = [key for listed in LISTS for key in listed]
    assert len(keys) == len(set(keys))
    for listed in LISTS:
        for key, (text, link) in listed.items():
            assert f"({key[-4:]})" in text and text.endswith((".", "(nilearn)")), key
            assert link == "" or link.startswith(("https://doi.org/10.", "https://arxiv.org/abs/", "http://www.")), key
    assert set(citations.OF_METHOD) == set(METHODS)


def test_works_are_sorted_and_each_is_cited_once():
    settings = {"heatmaps": {"methods": {"occlusion": {}, "area_occlusion": {}}}}
    cited = [text for text, _ in choose_citations(settings, simulated=True)]
    assert cited == sorted(cited) and len(cited) == len(set(cited))
    assert [text.partition(" ")[0] for text in cited].count("Zeiler") == 1, "both methods are those of one paper"


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("sfcn", {"Peng H"}),
        ("resnet18", {"He K", "Cardoso"}),
        ("densenet121", {"Huang G", "Cardoso"}),
        ("small", set()),
        ("compact", set()),
    ],
)
def test_the_paper_of_the_network_is_cited(network, names):
    works = " ".join(work for work, _ in choose_citations({"training": {"network": network}}, simulated=False))
    assert {name for name in ("Peng H", "He K", "Huang G", "Cardoso") if name in works} == names
