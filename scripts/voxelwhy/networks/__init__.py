"""The networks: their architectures, weights and devices; this is public API and imports nothing of the workflow.

Begin with `build.py`, which builds a network by name; each architecture has a module of its own, like `rieke2018.py`.
"""
