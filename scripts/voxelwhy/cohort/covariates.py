"""Covariates: further columns of the cohort's table, such as site, scanner or intracranial volume, for each scan."""

from __future__ import annotations

import difflib
import logging

import pandas as pd

from voxelwhy import registry
from voxelwhy.cohort.readers._reading import is_unknown
from voxelwhy.errors import InputError
from voxelwhy.io.tables import COVARIATES

LOG = logging.getLogger(__name__)


def read_covariates(settings):
    """Read the columns that `cohort.covariates` names, for each scan that the cohort uses.

    Parameters
    ----------
    settings : the `cohort` section of the config; covariates is {name: column of the table}

    Returns
    -------
    DataFrame by tables.COVARIATES, sorted by covariate in the order of the settings, then as the scans; empty, NA, -4
    and whatever else marks an age as unknown is an unknown value

    Raises
    ------
    InputError
        No table has such a column (the columns that there are and the closest one are named), or the cohort has no
        table; and what the reader raises.
    """
    reader = registry.load(registry.SOURCES, settings["source"], "cohort source")
    records, _ = reader.read_cohort(settings)
    # Columns of a joined table count where the scan's own table does not have them.
    rows = {r["scan_id"]: r.get("joined", {}) | r.get("cells", {}) for r in records if r["reason"] is None}
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    found = []
    for name, column in settings["covariates"].items():
        _require_column(name, column, columns, settings)
        values = {scan: None if is_unknown(cells.get(column)) else cells[column] for scan, cells in rows.items()}
        known = sum(value is not None for value in values.values())
        LOG.info("%s (column %s): known for %d of %d scans", name, column, known, len(values))
        found += [{"scan_id": scan, "covariate": name, "value": value} for scan, value in values.items()]
    return pd.DataFrame(found, columns=list(COVARIATES.columns))


def _require_column(name, column, columns, settings):
    if column in columns:
        return
    near = difflib.get_close_matches(column.lower(), [other.lower() for other in columns], n=1)
    near = [other for other in columns if near and other.lower() == near[0]]
    tables = settings.get("table") or settings.get("participants") or settings.get("data_dir")
    raise InputError(
        f"cohort.covariates: no table of the cohort has the column {column!r}",
        file=", ".join(tables) if isinstance(tables, list) else tables,
        column=f"cohort.covariates.{name}",
        found=f"columns {', '.join(columns)}"[:300] if columns else "no table: the classes are those of the file names",
        allowed="a column of the table" + " or of ADNIMERGE" * ("adnimerge" in settings),
        hint=f"did you mean {near[0]!r}?" if near else None,
    )
