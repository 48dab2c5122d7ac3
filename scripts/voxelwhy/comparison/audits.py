"""What the audits of shortcuts and the regions by class of many studies raise: by cohort, by method, by combination.

Runs that an earlier version has kept have no audit: they are counted in nothing.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from voxelwhy.io.trust_tables import TESTED

#: The rate of errors that a study allows: a property or region with a corrected p of at most this is raised.
NOMINAL = 0.05


def raised_in(cell):
    """Return the properties that the audit of a run raises, without repetition; None if the run has no audit."""
    if "audit" not in cell:
        return None
    rows = [row for row in cell["audit"] if row["check"] in TESTED and row["p_family"] <= NOMINAL]
    return list(dict.fromkeys(row["property"] for row in rows))


def audit_facts(cell):
    """Return what `summary.cell_table` has of the audit of a run; empty without an audit.

    Returns
    -------
    dict: audit_p_family, the smallest of all properties; raised, their names; auc_properties, the AUC of all properties
    alone
    """
    names = raised_in(cell)
    if names is None:
        return {}
    p = pd.Series([row["p_family"] for row in cell["audit"] if row["check"] in TESTED], dtype=float)
    alone = [row["value"] for row in cell["audit"] if row["check"] == "nuisances_alone"]
    return {"audit_p_family": p.min(), "raised": ", ".join(names), "auc_properties": alone[0] if alone else None}


def region_facts(own):
    """Return what `summary.method_table` has of a method's regions by class in a run; empty if it has kept none."""
    found = own.get("class_regions")
    return {} if found is None else {"class_regions": found["n_raised"], "class_regions_p": found["least_p_family"]}


def audit_table(cells, combinations, columns):
    """Make a table of what the audits raise, with one row per combination.

    Parameters
    ----------
    `cells` : list of dict, of `cells.gather_study` with choices and repeat
    combinations : DataFrame of `summary.combination_table`
    columns : {setting: column}, of the choices

    Returns
    -------
    DataFrame with the columns of the choices and

    - n_audited, n_raised: repeats with an audit, and those in which it raises anything
    - raised: each property with the number of repeats in which it is raised, most often first
    - auc_properties: mean over repeats of the AUC of all properties alone
    """
    rows = []
    for choices in combinations[list(columns.values())].to_dict("records"):
        own = [cell for cell in cells if {columns[s]: label for s, label in cell["choices"].items()} == choices]
        audited = [names for names in map(raised_in, own) if names is not None]
        counts = Counter(name for names in audited for name in names)
        alone = pd.Series([audit_facts(cell).get("auc_properties") for cell in own], dtype=float)
        facts = {"n_audited": len(audited), "n_raised": sum(map(bool, audited))}
        facts |= {"raised": ", ".join(f"{name} ({k})" for name, k in counts.most_common())}
        rows.append(choices | facts | {"auc_properties": alone.mean()})
    return pd.DataFrame(rows)
