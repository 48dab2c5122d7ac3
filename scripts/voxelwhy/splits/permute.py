"""Permuted diagnoses: the same subjects, scans and folds, with labels that do not depend on the images."""

from __future__ import annotations

import numpy as np
import pandas as pd


def permute_diagnoses(folds, subjects, *, seed, draw):
    """Permute the diagnoses over all subjects, in the same way in every fold.

    All scans of a subject receive the diagnosis of another subject's first scan, so that each class keeps about its
    size.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    subjects : DataFrame indexed by subject_id, with age (years) and sex ("F" or "M"); either may be missing
    seed, draw : int; each draw is another permutation

    Returns
    -------
    DataFrame by tables.FOLDS, with other labels
    """
    labels = folds.sort_values("scan_id").groupby("subject_id", sort=True)["label"].first()
    rng = np.random.default_rng(np.random.SeedSequence([int(seed), int(draw)]))
    exchanged = pd.Series(rng.permutation(labels.to_numpy()), index=labels.index)
    return folds.assign(label=folds["subject_id"].map(exchanged))
