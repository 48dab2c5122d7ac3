"""Atlases of brain regions, and the relevance of each region by group of scans.

Begin with `atlases.load_atlas` and `aggregate.aggregate_regions`.
"""
