"""The readers of cohort sources, one public module for each, such as ADNI, OASIS, BIDS or a plain folder.

Begin with `folder.read_cohort`, the simplest one; all readers share the table and label functions of `_reading`.
"""
