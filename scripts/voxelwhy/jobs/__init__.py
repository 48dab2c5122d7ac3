"""What surrounds every step of the workflow: script context, logs, code digests, progress, failures and costs.

Begin with `doors`, the context in which every script runs, then read `failures` for the summary of a failed run.
"""
