"""The table of internal and external performance: the same models on their own test scans and on other cohorts."""

from __future__ import annotations

import pandas as pd

from voxelwhy.publish import publish_table
from voxelwhy.wording import METRIC_TITLES, count, interval, listing


def publish_external(tables, out, *, split, n_models, model_titles, n_bootstrap):
    """Every metric by scan with its interval, a row a cohort and model; the tsv holds single models as well.

    Parameters
    ----------
    tables : {cohort: DataFrame by the METRICS schema}; the study's own test scans first
    out : path without suffix
    split : str, whose models are tested; n_models : int
    model_titles : {model: name for people}

    Returns
    -------
    str, the caption
    """
    rows = []
    for cohort, table in tables.items():
        pooled = table[(table["fold"] == "all") & (table["level"] == "scan")]
        for model, title in model_titles.items():
            part = pooled[pooled["model"] == model].set_index("metric")
            n = part.iloc[0]
            row = {"Tested on": cohort, "Subjects": n["n_subjects"], "Scans": n["n_scans"], "Model": title}
            rows.append(
                row | {name: interval(*part.loc[key, ["value", "low", "high"]]) for key, name in METRIC_TITLES.items()}
            )
    caption = (
        f"The {count(n_models, 'model')} of {split} out of sample, by scan, on {listing(tables)}; models "
        f"pooled, with 95 % intervals from {n_bootstrap:,} resamples of subjects (all judgements of a subject's scans "
        "together). "
        "Scans of another study are judged by each of the models, normalised as its training scans were."
    )
    frame = pd.concat([table.assign(tested_on=cohort) for cohort, table in tables.items()], ignore_index=True)
    title = f"Internal and external performance, {split}"
    return publish_table(frame, pd.DataFrame(rows), out, title=title, caption=caption, category="external")
