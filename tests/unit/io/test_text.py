"""Numbers and names in words: values with and without a known interval, methods inside a sentence."""

import math

import pytest

from voxelwhy.io.text import interval, method_name


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


def test_inside_a_sentence_a_method_is_in_lower_case_unless_its_name_has_capitals_of_its_own():
    names = ("occlusion", "guided_grad_cam", "grad_cam", "smoothgrad", "lrp", "input_x_gradient", "an_own_method")
    assert [method_name(name) for name in names] == [
        "occlusion", "guided Grad-CAM", "Grad-CAM", "SmoothGrad", "LRP", "input x gradient", "an own method"
    ]  # fmt: skip
