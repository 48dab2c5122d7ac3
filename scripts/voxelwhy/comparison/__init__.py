"""Comparison of many studies that differ in some choices, such as the transform, the network or the seed.

Begin with `combinations.make_cells`, which makes the studies; `report.report_comparison` writes their summary.
"""
