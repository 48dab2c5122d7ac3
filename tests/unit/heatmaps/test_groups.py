"""Groups of scans: which cells they are made of, and which class the maps of each explain."""

from types import SimpleNamespace

import numpy as np
import pytest

from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.merge_parts import group_maps, group_table
from voxelwhy.heatmaps.sums import MapSums

EVERY_SCAN = [(label, probability) for label in ("AD", "CN") for probability in (0.1, 0.49, 0.5, 0.9)]


def groups_of(label, probability):
    """The groups of a scan by their definition."""
    right = (label == "AD") == (probability >= 0.5)
    return {label, "all", ("T" if right else "F") + ("P" if probability >= 0.5 else "N")}


def members(groups, label, probability):
    """The groups in which the maps of a scan are averaged, each with the class that the map explains."""
    found = [
        (group, explained)
        for explained in groups.explained(label, probability)
        for group in groups.names
        if groups.cell(label, probability, explained) in groups.cells_in(group)
    ]
    assert len(dict(found)) == len(found), "a scan counts once in a group"
    return dict(found)


def test_a_false_negative_counts_in_its_class_by_the_positive_and_among_errors_by_the_predicted_class(classes):
    groups = Groups(classes)
    assert (groups.cell("AD", 0.3, "AD"), groups.cell("AD", 0.3, "CN")) == ("FN", "FN (predicted class)")
    assert (groups.cells_in("AD"), groups.cells_in("FN")) == (["TP", "FN"], ["FN (predicted class)"])
    assert groups.names == ["AD", "CN", "all", "TP", "FP", "TN", "FN"]
    assert groups.cells == ["TP", "FP", "TN", "FN", "TN (predicted class)", "FN (predicted class)"]
    assert groups.explained("AD", 0.3) == ["AD", "CN"] and groups.explained("AD", 0.5) == ["AD"]
    assert members(groups, "AD", 0.3) == {"AD": "AD", "all": "AD", "FN": "CN"}


def test_the_positive_class_is_explained_by_default(classes):
    assert Groups(classes).target == "positive"


@pytest.mark.parametrize("target", ["positive", "predicted", "true"])
@pytest.mark.parametrize("judged", [True, False])
def test_every_scan_counts_once_in_each_of_its_groups(classes, target, judged):
    groups = Groups(classes, judged, target)
    for label, probability in EVERY_SCAN:
        expected = groups_of(label, probability) & set(groups.names)
        assert set(members(groups, label, probability)) == expected
    assert groups.names == ["AD", "CN", "all"] + ["TP", "FP", "TN", "FN"] * judged


@pytest.mark.parametrize("judged", [True, False])
def test_maps_of_one_group_explain_one_class_or_as_the_target_says(classes, judged):
    for label, probability in EVERY_SCAN:
        predicted = "AD" if probability >= 0.5 else "CN"
        for group, explained in members(Groups(classes, judged), label, probability).items():
            assert explained == (predicted if group in ("TP", "FP", "TN", "FN") else "AD")
        for target, expected in (("predicted", predicted), ("true", label)):
            assert set(members(Groups(classes, judged, target), label, probability).values()) == {expected}


def test_the_card_of_a_group_says_which_class_its_maps_explain(classes):
    groups = Groups(classes)
    assert [groups.explained_in(name) for name in groups.names] == ["positive"] * 3 + ["predicted"] * 4
    assert Groups(classes, judged=False).explained_in("AD") == "positive"
    for target in ("predicted", "true"):
        assert {Groups(classes, target=target).explained_in(name) for name in groups.names} == {target}


def test_a_single_map_explains_the_predicted_class_unless_the_true_one_is_asked_for(classes):
    for target in ("positive", "predicted"):
        shown = Groups(classes, target=target).shown
        assert [shown("AD", 0.4), shown("AD", 0.5), shown("CN", 0.9)] == ["CN", "AD", "AD"]
    shown = Groups(classes, target="true").shown
    assert [shown("AD", 0.4), shown("CN", 0.9)] == ["AD", "CN"]


def mean_of_patients(maps, *, target):
    """The mean map of class AD, (raw, scaled), of maps {(probability, explained class): map} of two patients."""
    groups, counted = Groups({"positive": "AD", "negative": "CN"}, target=target), np.ones((3, 1, 1), bool)
    sums = MapSums(groups, counted)
    for (probability, explained), values in maps.items():
        scan = SimpleNamespace(scan_id=f"s{probability}", subject_id=f"p{probability}", label="AD", fold=0)
        scan.probability = probability
        sums.add(np.reshape(values, (3, 1, 1)), scan, explained=explained, saturated=False, outside=0.0)
    made = group_maps([sums.values], counted, group_table(sums.facts(), groups), groups)
    raw, scaled = (mean.ravel() for row, _, mean, _ in made if row.group == "AD")
    return raw.tolist(), scaled.tolist()


def test_signed_maps_of_the_predicted_class_cancel_and_those_of_the_positive_class_do_not():
    """Two patients with the same evidence (1, 0, -1), one of whom is missed: for CN, the evidence changes its sign."""
    evidence = np.array([1.0, 0.0, -1.0])
    by_predicted = {(0.9, "AD"): evidence, (0.2, "CN"): -evidence}
    cancelled = [0.0, 0.0, 0.0]
    assert mean_of_patients(by_predicted, target="predicted") == (cancelled, cancelled)
    by_positive = {(0.9, "AD"): evidence, (0.2, "AD"): evidence, (0.2, "CN"): -evidence}
    assert mean_of_patients(by_positive, target="positive") == (evidence.tolist(), (evidence / 2).tolist())
    # With negative values set to 0 first, each patient keeps what speaks for the network's own decision.
    clipped = {key: np.maximum(values, 0) for key, values in by_predicted.items()}
    assert mean_of_patients(clipped, target="predicted") == ([0.5, 0.0, 0.5], [0.5, 0.0, 0.5])
