"""Cells of tables on the page: what counts as empty, what sorts by which number, and where bars lie."""

import pytest

from voxelwhy.report.cells import BAR_WIDTH, interval_bar, read_interval, scale, shape_table, sort_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0.63 (0.46 to 0.77)", 0.63),
        ("−14.8", -14.8),
        ("-0.05 (-0.10 to 0.00), p = 0.031", -0.05),
        ("<0.0001", 0.0001),
        ("1,250", 1250),
        ("74.2 (6.1)", 74.2),
        ("12 %", 12),
        ("3 min", 180),
        ("2.5 h", 9000),
        ("40 s", 40),
        ("1.2e-04", 1.2e-4),
        ("B_L 7.0 (6.5 to 7.5)", None),
        ("detected", None),
        ("–", None),
        ("2 of 3", None),
    ],
)
def test_the_number_that_a_cell_is_sorted_by(text, key):
    assert sort_key(text) == key


def test_intervals_are_read_anywhere_in_a_cell():
    assert read_interval("0.63 (0.46 to 0.77)") == (0.63, 0.46, 0.77)
    assert read_interval("4th_Ventricle 7.0 (−6.5 to 7.5); 2.5, p = 0.050") == (7.0, -6.5, 7.5)
    assert read_interval("0.80 (0.10)") is None


def test_empty_columns_are_hidden_and_named_and_numbers_align():
    rows = [["a", "n/a", "0.1", "x"], ["b", "–", "–", "2"], ["c", "", "0.3", "3"]]
    shown = shape_table(["Name", "Age", "p", "Mixed"], rows)
    assert shown.columns == (("Name", False), ("p", True), ("Mixed", False)) and shown.hidden == ("Age",)
    assert [cell.text for cell in shown.rows[1]] == ["b", "–", "2"] and not shown.folded
    assert [row[1].key for row in shown.rows] == [0.1, None, 0.3] and shown.rows[1][2].key is None
    assert shape_table(["A"], []).columns == (("A", False),), "a table without rows keeps its columns"
    assert shape_table(["A"], [["1"]] * 13).folded and not shape_table(["A"], [["1"]] * 12).folded


def test_bars_have_the_scale_of_their_column_and_of_their_measure():
    assert scale([(0.6, 0.4, 0.7)]) == (0, 1) and scale([(0.1, -0.4, 0.7)]) == (-1, 1)
    assert scale([(3, 2, 5)]) == (0, 5) and scale([(-3, -4, 2)]) == (-4, 2)
    middle = interval_bar((0.5, 0.0, 1.0), (0, 1), 0.5)
    assert (middle.low, middle.value, middle.high, middle.zero) == (3, BAR_WIDTH / 2, BAR_WIDTH - 3, BAR_WIDTH / 2)
    columns = ["Measure", "Value (95 % CI)"]
    shown = shape_table(columns, [["ρ", "0.50 (0.40 to 0.60)"], ["logits", "5.00 (4.00 to 10.00)"], ["x", "–"]])
    assert [row[1].bar and row[1].bar.value for row in shown.rows] == [32, 32, None], "each measure by itself"
    shown = shape_table(["Model", "AUC"], [["network", "0.90 (0.80 to 1.00)"], ["Difference", "0.20 (-0.50 to 0.50)"]])
    assert shown.rows[0][1].bar.value == pytest.approx(3 + 0.9 * 58, abs=0.1)
    assert shown.rows[0][1].bar.zero == 32 and shown.rows[1][1].bar.zero == 32, "0.5 for an AUC, 0 for its difference"
