"""Plots of heatmaps over any image, mean heatmaps over a dataset, and the distance between two heatmaps.

Begin with `plot_slices` in `slices.py`.
"""
