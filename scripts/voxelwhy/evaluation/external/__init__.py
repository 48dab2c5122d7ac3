"""Evaluation of a study's models on the cohort of another study.

Begin with `cohort.check_cohort`, then `predictions.predict_external`.
"""
