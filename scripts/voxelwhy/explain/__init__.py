"""The explanation methods, which work on any PyTorch model: this is public API and imports nothing of the workflow.

Each method has a module of its own; begin with `occlusion.py`, then read `_shared/prepare.py`, which all methods use.
"""
