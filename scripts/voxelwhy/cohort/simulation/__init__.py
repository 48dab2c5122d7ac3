"""Simulation of the embedded cohort: scans made from a template, with atrophy of known size and place.

Begin with `cohort.simulate_cohort`; `plan` decides who is scanned when, and `scans` renders each scan.
"""
