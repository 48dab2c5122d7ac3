"""Numbers in words: values with and without a known interval."""

import math

import pytest

from voxelwhy.io.text import interval


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.823, 0.711, 0.912, "0.82 (0.71 to 0.91)"),
        (-0.001, -0.2, 0.3, "0.00 (-0.20 to 0.30)"),
        (0.823, math.nan, math.nan, "0.82"),
        (math.nan, math.nan, math.nan, "not defined"),
    ],
)
def test_a_figure_without_limits_stands_alone(value, low, high, words):
    assert interval(value, low, high) == words
