"""The figures of a study, one module per section of the report, each with a caption that states n, method and settings.

Begin with `style`, which sets the look of every figure and saves it with its caption, then read `relevance`.
"""
