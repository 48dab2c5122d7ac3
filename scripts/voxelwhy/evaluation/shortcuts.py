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

from voxelwhy.evaluation.follows import AUC, ETA, LEAST_SUBJECTS, higher_value, measure_of, relate, title_with
from voxelwhy.evaluation.intervals import Z
from voxelwhy.evaluation.metrics import subject_weights
from voxelwhy.evaluation.people import PROPERTIES, adjusted_for, is_known, known_columns, one_row_each
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.io.trust_tables import SHORTCUTS, TESTED
from voxelwhy.registration.image_properties import IMAGE_PROPERTIES
from voxelwhy.splits.covariates import CATEGORIES, design_columns

#: Ages that count as equal in a pair, years.
YEARS = 2.0
#: What reviewers ask for, with the columns of which one answers it.
ASKED = {"age": ("age",), "sex": ("female",), "site or scanner": CATEGORIES}
ASKED |= {"intracranial volume": ("intracranial_volume",)}
#: A standard error beyond this means that the classes are separated completely: no coefficient fits best.
MOST_ERROR = 50


def audit_shortcuts(people, *, classes, covariates=(), sides=None, n_permutations=10_000, seed=0):
    """Test what else the score follows, and how well it tells the classes apart without that.

    Parameters
    ----------
    people : DataFrame of `people.join_people`
    classes : {"positive": name, "negative": name}
    covariates : sequence of str, further columns of `people` (and of `sides`): numbers or, if text, categories; those
        of image_properties.IMAGE_PROPERTIES are no part of given_nuisances, where they would be too many for few people
    sides : DataFrame by tables.FOLDS joined with the properties by scan (`people.join_properties`), on whose training
        scans the properties alone are fitted; None for scans of another study
    n_permutations, seed : int

    Returns
    -------
    DataFrame by trust_tables.SHORTCUTS

    - follows: within each class, the relation of score and property within folds (`follows.relate`): Spearman's
      correlation, for a property of two values (such as sex) the AUC, for more than two categories η². p is that of
      permutations of the scores within fold and class
    - differs: whether the property itself differs between the classes, since what is the same in all patients varies
      within no class: AUC within folds of the property, patients against controls, or η² of the classes for more than
      two categories. p is that of permutations of the diagnoses within folds. `p_family` is corrected over all tests of
      follows and differs together (Holm)
    - nuisances_alone: AUC within folds of a logistic regression on the properties, fitted on each fold's training scans
    - given_nuisances: the likelihood ratio of a logistic regression on properties, fold and score to one without the
      score; value: by how much the logarithm of the odds of the diagnosis grows with one SD of the score
    - matched: share of correctly ordered pairs of a patient and a control of the same fold, sex and site (or scanner)
      whose ages differ by at most 2 years, with the interval of resampled subjects
    - unknown: which of age, sex, site or scanner, and intracranial volume are known for nobody

    Properties that are not known for everybody are left out of given_nuisances and nuisances_alone; what is known for
    nobody has no row.

    References
    ----------
    Holm 1979.
    """
    properties = PROPERTIES | {name: name.replace("_", " ") for name in covariates}
    people = one_row_each(people)
    positive = people["label"] == classes["positive"]
    rng = np.random.default_rng(seed)
    rows = _follows(people, properties, classes, n_permutations, rng)
    rows += _differs(people, properties, positive, n_permutations, rng)
    others = {name: title for name, title in properties.items() if name not in IMAGE_PROPERTIES}
    rows += [_nuisances_alone(sides, properties, classes), _given_nuisances(people, others, positive)]
    rows += [_matched(people, positive, seed), _unknown(people)]
    table = pd.DataFrame([row for row in rows if row]).reindex(columns=list(SHORTCUTS.columns))
    tested = table["check"].isin(TESTED) & table["p"].notna()
    if tested.any():
        table.loc[tested, "p_family"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    return table


def _row(check, name, group, measure, estimate, p, n):
    value, low, high = estimate
    row = {"check": check, "property": name, "group": group, "measure": measure, "value": value, "low": low}
    return row | {"high": high, "p": p, "n_subjects": int(n)}


def _follows(people, properties, classes, n_permutations, rng):
    rows = []
    for side in ("negative", "positive"):
        own = people[people["label"] == classes[side]]
        for name, title in properties.items():
            known = own[own[name].notna()]
            if not len(known) or known[name].nunique() < 2:
                continue
            measure, title, higher = _measured(people[name], name, title)
            found = relate(known, name, measure, n_permutations, rng, higher=higher)
            rows.append(_tested("follows", title, classes[side], found))
    return rows


def _measured(values, name, title):
    """The measure of a property, its title, and which of two values counts as positive."""
    measure = measure_of(values)
    higher = higher_value(values) if measure == AUC else None
    return measure, title_with(title, higher) if measure == AUC and name != "female" else title, higher


def _differs(people, properties, positive, n_permutations, rng):
    rows = []
    for name, title in properties.items():
        known = people[people[name].notna()].assign(patient=positive)
        if (
            known[name].nunique() < 2
            or known["patient"].value_counts().reindex([True, False], fill_value=0).min() < LEAST_SUBJECTS
        ):
            continue
        measure, title, higher = _measured(people[name], name, title)
        if measure == ETA:
            found = relate(known.assign(score=known["patient"].astype(float)), name, ETA, n_permutations, rng)
        else:
            values = known[name].astype(float) if higher is None else (known[name] == higher).astype(float)
            found = relate(known.assign(score=values), "patient", AUC, n_permutations, rng, higher=True)
        rows.append(_tested("differs", title, "all", found))
    return rows


def _tested(check, title, group, found):
    return _row(check, title, group, found.measure, (found.value, found.low, found.high), found.p, found.n)


def _titles(names, properties):
    return ", ".join(properties[name] for name in names)


def _nuisances_alone(sides, properties, classes):
    names = [] if sides is None else known_columns(sides.drop_duplicates("scan_id"), properties)
    if not names:
        return None
    design, parts = design_columns(sides.drop_duplicates("scan_id").set_index("scan_id")[names]), []
    for fold, own in sides.groupby("fold"):
        train, test = own[own["side"] == "train"], own[own["side"] == "test"]
        if train["label"].nunique() < 2 or not len(test) or not design.shape[1]:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(design.loc[train["scan_id"]], train["label"] == classes["positive"])
        parts.append(test.assign(score=model.decision_function(design.loc[test["scan_id"]]), fold=fold))
    if not parts:
        return None
    scored = pd.concat(parts).groupby(["subject_id", "label", "fold"], as_index=False)["score"].mean()
    subjects = pd.factorize(scored["subject_id"])[0]
    aucs = fold_aucs(scored["score"], scored["label"] == classes["positive"], subjects, scored["fold"])
    estimate = (np.nan,) * 3 if aucs is None else (aucs.auc, *aucs.interval())
    n = scored["subject_id"].nunique()
    return _row("nuisances_alone", _titles(names, properties), "all", "AUC", estimate, np.nan, n)


def _given_nuisances(people, properties, positive):
    score, names = people["score"], known_columns(people, properties)
    if not names or score.isna().any():
        return None
    folds, design = pd.get_dummies(people["fold"], drop_first=True, dtype=float), design_columns(people[names])
    if not design.shape[1]:
        return None
    without = pd.concat([design, folds], axis=1)
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
        estimate = (beta, beta - Z * error, beta + Z * error)
    p, titles = float(stats.chi2.sf(ratio, 1)), _titles(names, properties)
    return _row("given_nuisances", titles, "all", "log odds for 1 SD", estimate, p, len(people))


def _unknown(people):
    """A row that names what reviewers ask for and nobody's table gives; nothing if all of it is known."""
    names = [name for name, columns in ASKED.items() if not any(is_known(people, column) for column in columns)]
    return _row("unknown", ", ".join(names), "all", "–", (np.nan,) * 3, np.nan, len(people)) if names else None


def _matched(people, positive, seed, n_resamples=2000):
    columns = adjusted_for(people)
    if not columns:
        return None
    titles = ", ".join(columns).replace("female", "sex")
    pairs = _pairs(people, positive.to_numpy(), columns)
    n = len(np.unique(pairs[:, :2])) if len(pairs) else 0
    if n < LEAST_SUBJECTS:
        return _row("matched", titles, "all", "AUC", (np.nan,) * 3, np.nan, n)
    first, second, order = pairs[:, 0].astype(int), pairs[:, 1].astype(int), pairs[:, 2]
    values = []
    for drawn in subject_weights(people["subject_id"], n_resamples, seed):
        weights = drawn[:, first] * drawn[:, second]
        whole = weights.sum(axis=1)
        values.append((weights @ order)[whole > 0] / whole[whole > 0])
    low, high = np.percentile(np.concatenate(values), [2.5, 97.5])
    return _row("matched", titles, "all", "AUC", (float(order.mean()), float(low), float(high)), np.nan, n)


def _pairs(people, positive, columns):
    """Rows (patient, control, 1 if ordered correctly, 0.5 if tied) of the pairs that are alike in the columns.

    Where a property is unknown for somebody, they are in no pair.
    """
    patients, controls = np.flatnonzero(positive), np.flatnonzero(~positive)

    def differ(values):
        values = np.asarray(values, dtype=float)
        return values[patients][:, None] - values[controls][None]

    alike = differ(people["fold"]) == 0
    for column in columns:
        if column == "age":
            alike &= np.abs(differ(people["age"])) <= YEARS
        else:
            codes = pd.Series(pd.factorize(people[column])[0])
            alike &= differ(codes.where(codes >= 0)) == 0
    rows, others = np.nonzero(alike)
    order = (np.sign(differ(people["score"])[rows, others]) + 1) / 2
    return np.column_stack([patients[rows], controls[others], order])
