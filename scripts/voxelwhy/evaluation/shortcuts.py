"""Shortcuts: does the score of a network follow something else than the disease, and what is left of it without that?

The unit is the subject. Scores are compared within folds only, since the outputs of different networks have different
zeros and scales.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.multitest import multipletests

from voxelwhy.evaluation.intervals import Z
from voxelwhy.evaluation.metrics import subject_weights
from voxelwhy.evaluation.people import QUALITY, known_columns, one_row_each
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.io.trust_tables import SHORTCUTS
from voxelwhy.splits.permute import permute_within

#: Properties whose relation to the score is tested, with their names.
PROPERTIES = {"age": "age", "female": "sex (female)"} | QUALITY
#: Ages that count as equal in a pair, years.
YEARS = 2.0
#: With fewer subjects in a class its scores are not tested.
LEAST_SUBJECTS = 8
#: A standard error beyond this means that the classes are separated completely: no odds ratio fits best.
MOST_ERROR = 50
BATCH = 500


def audit_shortcuts(people, *, classes, sides=None, n_permutations=10_000, seed=0):
    """Test what else the score follows, and how well it tells the classes apart without that.

    Parameters
    ----------
    people : DataFrame of `people.join_people`
    classes : {"positive": name, "negative": name}
    sides : DataFrame by tables.FOLDS joined with age, female and QUALITY by scan (`people.join_properties`), on whose
        training scans the properties alone are fitted; None for scans of another study
    n_permutations, seed : int

    Returns
    -------
    DataFrame by trust_tables.SHORTCUTS

    - follows: within each class, Spearman's correlation of property and score, both centred within folds (for sex this
      is a rank-biserial relation). The p value is that of permutations of the scores within fold and class, two-sided;
      `p_family` is corrected over all of these tests (Holm). The interval is that of Bonett & Wright (2000)
    - nuisances_alone: AUC within folds of a logistic regression on the properties, fitted on each fold's training scans
    - given_nuisances: the likelihood ratio of a logistic regression on properties, fold and score to one without the
      score; value: odds ratio for one SD of the score
    - matched: share of correctly ordered pairs of a patient and a control of the same fold and sex whose ages differ by
      at most 2 years, with the interval of resampled subjects

    Properties that are not known for everybody are left out of given_nuisances and nuisances_alone; what is known for
    nobody has no row.

    References
    ----------
    Holm 1979; Bonett & Wright 2000 (Psychometrika 65:23).
    """
    people = one_row_each(people)
    positive = people["label"] == classes["positive"]
    rng = np.random.default_rng(seed)
    rows = _follows(people, classes, n_permutations, rng)
    rows += [_nuisances_alone(people, positive, sides, classes), _given_nuisances(people, positive)]
    rows.append(_matched(people, positive, seed))
    table = pd.DataFrame([row for row in rows if row]).reindex(columns=list(SHORTCUTS.columns))
    tested = (table["check"] == "follows") & table["p"].notna()
    if tested.any():
        table.loc[tested, "p_family"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    return table


def _row(check, name, group, measure, estimate, p, n):
    value, low, high = estimate
    row = {"check": check, "property": name, "group": group, "measure": measure, "value": value, "low": low}
    return row | {"high": high, "p": p, "n_subjects": int(n)}


def _follows(people, classes, n_permutations, rng):
    rows = []
    for side in ("negative", "positive"):
        own = people[people["label"] == classes[side]]
        for name, title in PROPERTIES.items():
            known = own[own[name].notna()]
            if len(known) and known[name].nunique() > 1:
                estimate, p = _rank_correlation(known, name, n_permutations, rng)
                rows.append(_row("follows", title, classes[side], "Spearman", estimate, p, len(known)))
    return rows


def _rank_correlation(people, name, n_permutations, rng):
    """Spearman's correlation of a property with the score within folds, its interval, and p by permutation."""
    score = people["score"].to_numpy()
    kept = np.isfinite(score)
    n, folds = int(kept.sum()), people["fold"].to_numpy()[kept]
    if n < LEAST_SUBJECTS:
        return (np.nan,) * 3, np.nan
    value = people[name].to_numpy(float)[kept]
    value = value - pd.Series(value).groupby(folds).transform("mean").to_numpy()
    first, second = (_unit_ranks(x) for x in (score[kept], value))
    if first is None or second is None:
        return (np.nan,) * 3, np.nan
    found, larger = float(first @ second), 1
    for start in range(0, n_permutations, BATCH):
        orders = permute_within(folds, min(BATCH, n_permutations - start), rng)
        larger += int((np.abs(first[orders] @ second) >= abs(found) - 1e-12).sum())
    # One degree of freedom less for each further fold, whose mean is subtracted.
    error = np.sqrt((1 + found**2 / 2) / max(n - len(np.unique(folds)) - 2, 1))
    low, high = np.tanh(np.arctanh(np.clip(found, -0.9999, 0.9999)) + np.array([-1, 1]) * Z * error)
    return (found, float(low), float(high)), larger / (1 + n_permutations)


def _unit_ranks(values):
    ranks = stats.rankdata(np.round(values, 9))
    ranks = ranks - ranks.mean()
    length = np.linalg.norm(ranks)
    return ranks / length if length > 0 else None


def _nuisances_alone(people, positive, sides, classes):
    names = [] if sides is None else known_columns(sides, PROPERTIES)
    if not names:
        return None
    parts = []
    for fold, own in sides.groupby("fold"):
        train, test = own[own["side"] == "train"], own[own["side"] == "test"]
        if train["label"].nunique() < 2 or not len(test):
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(train[names], train["label"] == classes["positive"])
        parts.append(test.assign(score=model.decision_function(test[names]), fold=fold))
    if not parts:
        return None
    scored = pd.concat(parts).groupby(["subject_id", "label", "fold"], as_index=False)["score"].mean()
    subjects = pd.factorize(scored["subject_id"])[0]
    aucs = fold_aucs(scored["score"], scored["label"] == classes["positive"], subjects, scored["fold"])
    estimate = (np.nan,) * 3 if aucs is None else (aucs.auc, *aucs.interval())
    titles = ", ".join(PROPERTIES[name] for name in names)
    return _row("nuisances_alone", titles, "all", "AUC", estimate, np.nan, scored["subject_id"].nunique())


def _given_nuisances(people, positive):
    score, names = people["score"], known_columns(people, PROPERTIES)
    if not names or score.isna().any():
        return None
    folds = pd.get_dummies(people["fold"], drop_first=True, dtype=float)
    without = pd.concat([people[names].astype(float), folds], axis=1)
    without = sm.add_constant((without - without.mean()) / without.std(ddof=0), has_constant="add").to_numpy()
    y = positive.to_numpy(float)
    designs = (without, np.c_[without, score])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a separation that is complete, which the size of the error shows
        smaller, larger = (sm.GLM(y, design, family=sm.families.Binomial()).fit() for design in designs)
    ratio = max(2 * (larger.llf - smaller.llf), 0.0)
    beta, error = float(larger.params[-1]), float(larger.bse[-1])
    estimate = (np.nan,) * 3
    if error < MOST_ERROR:
        estimate = tuple(float(x) for x in np.exp([beta, beta - Z * error, beta + Z * error]))
    titles = ", ".join(PROPERTIES[name] for name in names)
    p = float(stats.chi2.sf(ratio, 1))
    return _row("given_nuisances", titles, "all", "odds ratio for 1 SD", estimate, p, len(people))


def _matched(people, positive, seed, n_resamples=2000):
    if people["age"].isna().all() and people["female"].isna().all():
        return None
    pairs = _pairs(people, positive.to_numpy())
    n = len(np.unique(pairs[:, :2])) if len(pairs) else 0
    if n < LEAST_SUBJECTS:
        return _row("matched", "age, sex", "all", "AUC", (np.nan,) * 3, np.nan, n)
    first, second, order = pairs[:, 0].astype(int), pairs[:, 1].astype(int), pairs[:, 2]
    values = []
    for drawn in subject_weights(people["subject_id"], n_resamples, seed):
        weights = drawn[:, first] * drawn[:, second]
        whole = weights.sum(axis=1)
        values.append((weights @ order)[whole > 0] / whole[whole > 0])
    low, high = np.percentile(np.concatenate(values), [2.5, 97.5])
    return _row("matched", "age, sex", "all", "AUC", (float(order.mean()), float(low), float(high)), np.nan, n)


def _pairs(people, positive):
    """Rows (patient, control, 1 if ordered correctly, 0.5 if tied) of the pairs that are alike."""
    fold, female, age, score = (people[name].to_numpy(float) for name in ("fold", "female", "age", "score"))
    patients, controls = np.flatnonzero(positive), np.flatnonzero(~positive)

    def differ(values):
        return values[patients][:, None] - values[controls][None]

    alike = differ(fold) == 0
    # A property that is unknown for everybody cannot be matched; where it is unknown for some, they are in no pair.
    if np.isfinite(female).any():
        alike &= differ(female) == 0
    if np.isfinite(age).any():
        alike &= np.abs(differ(age)) <= YEARS
    rows, columns = np.nonzero(alike)
    order = (np.sign(differ(score)[rows, columns]) + 1) / 2
    return np.column_stack([patients[rows], controls[columns], order])
