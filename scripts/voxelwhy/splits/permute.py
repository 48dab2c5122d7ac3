"""Shuffled diagnoses: a permutation of all subjects' diagnoses, within strata of age and sex where these are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Separates the random numbers of the permutations from those of everything else.
SHUFFLES = 1808
#: Subjects in a stratum of age and sex, about: enough to hold both classes, few enough to be of similar age.
BAND_SUBJECTS = 20
#: Subjects of equal age and sex count as individually matched if this share of all have a partner of the other class.
MATCHED_SHARE = 0.8


def permute_diagnoses(folds, subjects, *, draw):
    """Return the folds with the diagnoses permuted over all subjects: the same permutation in every fold and side.

    Each subject gets the diagnoses of another one of the same stratum (`strata_of`), scan by scan in the order of their
    ids; a donor with fewer scans gives the last diagnosis again. Under the hypothesis that scans do not depend on the
    diagnosis, every labelling is as probable as the observed one, whatever age and sex contribute.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    subjects : DataFrame, indexed by subject_id: age (years, at the first scan) and sex (F, M), either may be missing
    draw : int; a draw is the same permutation in every study of these subjects, whatever the seed of the study, so that
        studies that differ in their seeds alone can be averaged draw by draw

    Returns
    -------
    folds : DataFrame by tables.FOLDS, with other labels

    References
    ----------
    Winkler 2014, NeuroImage 92:381 (exchangeability within blocks).
    """
    scans = folds.drop_duplicates("scan_id").sort_values(["subject_id", "scan_id"])
    labels = {subject: own["label"].tolist() for subject, own in scans.groupby("subject_id", sort=True)}
    first = pd.Series({subject: own[0] for subject, own in labels.items()})
    strata = strata_of(subjects.reindex(first.index), first)
    rng = np.random.default_rng(np.random.SeedSequence([SHUFFLES, draw]))
    donor = {}
    for _, members in strata.groupby(strata, sort=True):
        donor |= dict(zip(members.index, rng.permutation(members.index.to_numpy()), strict=True))
    given = {}
    for subject, own in scans.groupby("subject_id", sort=True):
        lent = labels[donor[subject]]
        given |= {scan: lent[min(place, len(lent) - 1)] for place, scan in enumerate(own["scan_id"])}
    return folds.assign(label=folds["scan_id"].map(given))


def strata_of(subjects, labels):
    """Return the stratum of each subject, as text.

    Where most subjects have a partner of the other class with the same age and sex, the partners are a stratum
    (matched pairs). The others are divided by sex and into bands of age of about `BAND_SUBJECTS` subjects. Subjects
    whose age or sex is not known are a stratum of their own.

    Parameters
    ----------
    subjects : DataFrame, indexed by subject_id: age, sex
    labels : Series, the first diagnosis of each subject, with the same index
    """
    known = subjects["age"].notna() & subjects["sex"].notna()
    strata = pd.Series("unknown", index=subjects.index, dtype=object)
    exact = subjects["sex"].astype(str) + " " + subjects["age"].astype(float).round(2).astype(str)
    both = known & (labels.groupby(exact).transform("nunique") > 1)
    matched = both if both.sum() >= MATCHED_SHARE * max(1, known.sum()) else both & False
    strata[matched] = exact[matched]
    for sex, own in subjects[known & ~matched].groupby("sex", sort=True):
        bands = max(1, len(own) // BAND_SUBJECTS)
        order = own["age"].rank(method="first") - 1
        strata[own.index] = [f"{sex} band {int(place * bands // len(own))}" for place in order]
    return strata


def first_ages(scans):
    """Return age at the first scan and sex of each subject, indexed by subject_id, from a table by tables.SCANS."""
    ordered = scans.sort_values(["subject_id", "age", "scan_id"])
    return ordered.groupby("subject_id", sort=True)[["age", "sex"]].first()


def permute_within(cells, n, rng):
    """Return orders (n, rows) that move rows within their cell only."""
    orders = np.tile(np.arange(len(cells)), (n, 1))
    for cell in np.unique(cells):
        own = np.flatnonzero(cells == cell)
        orders[:, own] = rng.permuted(np.tile(own, (n, 1)), axis=1)
    return orders
