"""Registration of every scan to the template, by ANTs or by checking that it already lies on the study's grid.

Begin with `register.register_scan`, which registers one scan; `selection.select_scans` decides which scans are used.
"""
