"""The heatmaps of a study: each test scan is explained by the model of its fold, and maps are averaged by group.

Begin with `explain_scans.explain_scans`, then `merge_parts`; the explanation methods are in `voxelwhy.explain`.
"""
