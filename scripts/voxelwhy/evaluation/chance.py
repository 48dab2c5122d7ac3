"""Tests against networks trained on shuffled diagnoses: is a score or a region's relevance more than chance gives?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.errors import ShapeError
from voxelwhy.io.tables import LEAST_DRAWS

ALPHA = 0.05
#: Smaller spreads between draws are rounding errors: some methods give almost the same map for any weights.
LEAST_SPREAD = 1e-9


def compare_with_draws(observed, draws):
    """Test each of several values against draws under the null hypothesis, and all of them together (max-T).

    Each labelling, the observed one among them, is as probable as any other if scans do not depend on the diagnosis.
    So both p values are exact: p is at most alpha with a probability of at most alpha, for any number of draws and any
    distribution, and `p_family` so for the smallest over the family.

    Parameters
    ----------
    observed : array (values,); NaN where a value is not defined
    draws : array (draws, values), from shuffled diagnoses

    Returns
    -------
    DataFrame, one row per value

    - z: (observed - mean) / standard deviation. Mean and standard deviation are over the draws and the observed value
      together, since only then is every labelling treated alike
    - p: (1 + number of draws that are at least as large) / (1 + draws)
    - p_family: the same for the largest z over all values, as the reference of each of them

    All are NaN for a value that is not defined in each draw; z is 0 for a value that is the same in all of them.

    Raises
    ------
    ShapeError : the draws have another number of values.

    References
    ----------
    Phipson & Smyth 2010 (permutation p values are never zero); Westfall & Young 1993 (max-T); Winkler 2014.
    """
    observed, draws = np.asarray(observed, dtype=float), np.asarray(draws, dtype=float)
    if draws.ndim != 2 or draws.shape[1:] != observed.shape:
        raise ShapeError(f"the draws have shape {draws.shape}; (draws, {len(observed)}) is expected")
    values = np.vstack([observed, draws])
    z, p, family = np.full((3, len(observed)), np.nan)
    defined = np.isfinite(values).all(axis=0) & (len(draws) > 0)
    if defined.any():
        z_all = _standardised(values[:, defined])
        z[defined] = z_all[0]
        # Equal values may differ in their last bit: a tie counts as at least as large.
        p[defined] = _share_at_least(z_all[1:], z_all[0])
        family[defined] = _share_at_least(z_all[1:].max(axis=1, keepdims=True), z_all[0])
    return pd.DataFrame({"z": z, "p": p, "p_family": family})


def verdicts(p_family, n_draws):
    """Return "detected" or "not detected" by p of at most 0.05; "no verdict" with too few draws or without p."""
    enough = n_draws >= LEAST_DRAWS
    return [
        "no verdict" if not enough or np.isnan(p) else "detected" if p <= ALPHA + 1e-12 else "not detected"
        for p in p_family
    ]


def _standardised(values):
    spread = values.std(axis=0, ddof=1)
    return np.where(spread > LEAST_SPREAD, (values - values.mean(axis=0)) / np.maximum(spread, LEAST_SPREAD), 0.0)


def _share_at_least(draws, observed):
    return (1 + (draws >= observed - 1e-9).sum(axis=0)) / (1 + len(draws))
