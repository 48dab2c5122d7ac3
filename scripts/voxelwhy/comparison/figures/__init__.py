"""The figure of a comparison, one module for each question: choices, null or confounds.

Begin with `choices.draw_choices`; `voxelwhy.comparison.report` calls all of them.
"""
