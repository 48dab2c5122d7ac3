"""Pairs of controls: one of each gets the loss, the other a sham."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Separates the random numbers of the pairs and shams from those of everything else.
PLANTING = 1809
PLANTED, SHAM = "planted", "sham"


def random_of(seed, assignment, *more):
    """The generator of an assignment's pairs or, with the number of a pair, of its sham."""
    return np.random.default_rng(np.random.SeedSequence([PLANTING, seed, assignment, *more]))


def pair_controls(controls, *, seed, assignment):
    """Pair controls of equal sex and about equal age, and choose one of each pair at random.

    Controls of one sex are sorted by age, those without age at random after them, and neighbours form a pair. If their
    number is odd, one of them, drawn at random, is left out.

    Parameters
    ----------
    controls : DataFrame, one row a subject: subject_id, age (years) and sex (F, M), either may be missing
    seed, assignment : int; each assignment is another choice, and other pairs where age does not settle them

    Returns
    -------
    pairs : DataFrame, the rows of the paired controls with `assignment`, `pair` (from 0) and `role` (planted or sham)
    """
    rng = random_of(seed, assignment)
    shuffled = controls.iloc[rng.permutation(len(controls))].reset_index(drop=True)
    chosen = []
    for _, own in shuffled.groupby(shuffled["sex"].fillna(""), sort=True):
        kept = own.iloc[len(own) % 2 :].sort_values("age", kind="stable", na_position="last")
        chosen.append(kept)
    paired = pd.concat(chosen, ignore_index=True)
    first = rng.random(len(paired) // 2) < 0.5
    roles = np.where(np.stack([first, ~first], axis=1).ravel(), PLANTED, SHAM)
    return paired.assign(assignment=assignment, pair=np.arange(len(paired)) // 2, role=roles)
