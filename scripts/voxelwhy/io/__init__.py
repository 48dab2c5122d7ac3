"""Files that pass between the stages: images on their grids, tables with a schema, scans of any format, shared stores.

Begin with `images.Grid` and `images.read_volume`; `tables` defines the columns of every table of a study.
"""
