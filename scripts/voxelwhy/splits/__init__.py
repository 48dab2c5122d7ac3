"""Splits of a cohort by subject into training, validation and test scans, and the audit for leakage.

Begin with `folds.split_folds`, then `audit.audit_folds`, which must pass before anything is trained.
"""
