"""How well the networks classify, and how far their heatmaps can be trusted.

Begin with `metrics` for accuracy and `truth` for the comparison with a planted disease; `external` tests the models on
the cohort of another study.
"""
