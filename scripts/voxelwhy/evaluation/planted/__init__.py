"""A known loss of volume planted in a study's own controls: does each method detect it in these scans?

Nothing is exported here; import from the modules.
"""
