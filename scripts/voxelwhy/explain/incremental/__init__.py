"""The incremental engine, which recomputes only the cells of each layer that a change of the image reaches.

Begin with the class in `engine.py`; `plan.py` and `boxes.py` compute which cells those are.
"""
