"""A small simulated cohort, with a store or without."""

from __future__ import annotations

from helpers.simulation_settings import settings
from voxelwhy.cohort.simulation.store import PARTS, simulate_shared

CODE = {"simulate_cohort.py": "a", "voxelwhy.jobs.doors": "b", "voxelwhy.cohort.simulation.deform": "c"}
FEW = settings(
    resolution_mm=6,
    subjects={"CN": 2, "Dementia": 2},
    visits=[["Screening"], ["Screening", "Month 12"]],
    missing_files=["999_S_0005/Month 12"],
    truncated_files=["999_S_0006/Month 12"],
)


def simulate(folder, *, store="", chosen=FEW, code=CODE, **options):
    paths = {part: folder / part for part in PARTS}
    simulate_shared(chosen, 7, paths, store=store, code=code, **options)
