"""Tables of a study: one schema for each TSV that passes between stages, checked on writing and on reading."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from voxelwhy.errors import InputError
from voxelwhy.io.columns import fraction, real, schema, text, whole

SIDES = ("train", "validation", "test")
#: A test against shuffled diagnoses has a verdict from this number of draws: with fewer, p cannot be 0.05 or less.
LEAST_DRAWS = 19
BASELINE_MAPS = ("weights", "pattern")


_SCAN = {
    "scan_id": text(unique=True, checks=pa.Check.str_matches(r"^[A-Za-z0-9_.+-]+$")),
    "subject_id": text(),
    "session": text(nullable=True),
    "label": text(),
    "age": real(nullable=True, checks=pa.Check.in_range(0, 130)),
    "sex": text(nullable=True, checks=pa.Check.isin(["F", "M"])),
    "scan_date": text(nullable=True),
    "image_id": text(nullable=True),
    "path": text(),
}
_DROPPED = {
    "table": text(nullable=True),
    "row": pa.Column("Int64", coerce=True, nullable=True, checks=pa.Check.ge(2)),
    "scan_id": text(nullable=True),
    "subject_id": text(nullable=True),
    "session": text(nullable=True),
    "label": text(nullable=True),
    "reason": text(),
    "detail": text(nullable=True),
}

#: One row for each scan that the study may use; `path` is absolute or relative to the working directory.
SCANS = schema(_SCAN)
#: One row for each entry of the source that is not used. `table` is the file of the entry and `row` its line (the
#: header is line 1); both are empty if the source has no table and its entries are files.
DROPPED = schema(_DROPPED)
#: Scans on the template grid. `t1` is the registered image, `voxel_hash` the hash of the voxels of the original scan,
#: `t1_hash` that of the registered image, `maps_hash` that of the images derived from the registration, if any.
SELECTED = schema(
    _SCAN
    | {
        "t1": text(),
        "voxel_hash": text(checks=pa.Check.str_length(64, 64)),
        "t1_hash": text(checks=pa.Check.str_length(64, 64)),
        "maps_hash": text(nullable=True, checks=pa.Check.str_length(64, 64)),
        "correlation_brain": real(nullable=True),
        "mask_dice": fraction(nullable=True),
        "jacobian_min": real(nullable=True),
        "jacobian_max": real(nullable=True),
    }
)
#: Further columns of the cohort's table (`cohort.covariates`), one row for each covariate and scan, as text.
COVARIATES = schema(
    {"scan_id": text(), "covariate": text(), "value": text(nullable=True)}, unique=["scan_id", "covariate"]
)
#: Results of a batch of registrations, one row for each scan. `key` identifies scan, settings and code; it is also in
#: quality.json, and empty for a scan that cannot be read.
REGISTERED = schema(
    {
        "scan_id": text(unique=True),
        "status": text(checks=pa.Check.isin(["ok", "failed"])),
        "key": text(nullable=True),
    }
)
#: Everything that the study does not use: dropped rows and scans that could not be registered.
EXCLUDED = schema({"stage": text(checks=pa.Check.isin(["parse_tables", "register_scan", "select_scans"]))} | _DROPPED)
#: One row for each fold and scan. `fold` counts from 0.
FOLDS = schema(
    {
        "fold": whole(checks=pa.Check.ge(0)),
        "side": text(checks=pa.Check.isin(SIDES)),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
    },
    unique=["fold", "scan_id"],
)
#: Table 1, one row for each fold ("all" or its number), side and class. `age` is "mean (SD)" or "n/a", over subjects.
TABLE1 = schema(
    {
        "fold": text(),
        "side": text(checks=pa.Check.isin(["all", *SIDES])),
        "class": text(),
        "subjects": whole(),
        "scans": whole(),
        "age": text(),
        "age_known": whole(),
        "female": whole(),
        "male": whole(),
        "sex_unknown": whole(),
    },
    unique=["fold", "side", "class"],
)
#: One row for each training (`member`, from 0; several if training.seeds is above 1) and epoch, counted from 1.
#: Validation columns are empty if there are no validation scans.
HISTORY = schema(
    {
        "member": whole(checks=pa.Check.ge(0)),
        "epoch": whole(checks=pa.Check.ge(1)),
        "train_loss": real(),
        "train_accuracy": fraction(),
        "validation_loss": real(nullable=True),
        "validation_accuracy": fraction(nullable=True),
    },
    unique=["member", "epoch"],
)
#: Out-of-sample predictions, one row for each fold and test scan; `probability` is that of the positive class.
PREDICTIONS = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "logit_negative": real(),
        "logit_positive": real(),
        "probability": fraction(),
    },
    unique=["fold", "scan_id"],
)
#: The regions of the atlas on the study's grid.
ATLAS = schema(
    {
        "region_id": whole(unique=True, checks=pa.Check.ge(1)),
        "region": text(unique=True),
        "voxels": whole(checks=pa.Check.ge(1)),
        "volume_mm3": real(checks=pa.Check.gt(0)),
    }
)
#: Means of the registered images by region, one row for each scan, image (channels.CHANNELS) and region.
REGION_MEANS = schema(
    {"scan_id": text(), "channel": text(), "region_id": whole(), "mean": real()},
    unique=["scan_id", "channel", "region_id"],
)
#: One row for each map and region: `total` is the sum of relevance divided by the sum of absolute relevance of the map,
#: `share` the fraction of its positive relevance (0 to 1), `enrichment` that share divided by the region's share of the
#: volume. `target` is the class that the map explains.
RELEVANCE = schema(
    {
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "fold": whole(),
        "target": text(),
        "probability": fraction(),
        "region_id": whole(),
        "region": text(),
        "total": real(),
        "share": real(nullable=True),
        "enrichment": real(nullable=True),
    },
    unique=["scan_id", "fold", "target", "region_id"],
)
#: One row for each group and region: means over subjects with intervals, which are empty below 8 subjects; rank 1 is
#: the largest enrichment. Regions of the positive class are compared with networks trained on shuffled diagnoses, if
#: there are any; `p_family` corrects over the regions.
REGIONS = schema(
    {
        "group": text(),
        "region_id": whole(),
        "region": text(),
        "n_subjects": whole(),
        "n_scans": whole(),
        "volume_mm3": real(),
    }
    | {
        f"{figure}{end}": real(nullable=True)
        for figure in ("enrichment", "share", "total")
        for end in ("", "_low", "_high")
    }
    | {"rank": whole(), "n_shuffled": whole()}
    | {name: real(nullable=True) for name in ("shuffled_mean", "shuffled_sd", "z", "p", "p_family")},
    unique=["group", "region_id"],
)
#: One row for each imported map and region, as RELEVANCE for a scan; a mean map has no interval over subjects.
IMPORTED = schema(
    {
        "name": text(),
        "group": text(),
        "region_id": whole(),
        "region": text(),
        "volume_mm3": real(),
        "total": real(),
        "share": real(nullable=True),
        "enrichment": real(nullable=True),
        "rank": whole(),
    },
    unique=["name", "group", "region_id"],
)
#: One row for each model, level (subject or scan), fold ("all" or its number) and metric. `p` is that of the
#: permutation test against chance, at the level "subject" and for all folds; sensitivity and specificity have none.
#: `auc` is within folds and `auc_pooled` over pairs of all folds; they are equal in a single fold.
METRICS = schema(
    {
        "model": text(),
        "level": text(checks=pa.Check.isin(["scan", "subject"])),
        "fold": text(),
        "metric": text(),
        "value": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "p": fraction(nullable=True),
        "n_scans": whole(),
        "n_subjects": whole(),
    }
)
#: The network compared with the baseline, by subject and over all folds: one row for each metric. `low` and `high`
#: are the limits of `difference`, network minus baseline.
DIFFERENCES = schema(
    {
        "metric": text(unique=True, checks=pa.Check.isin(["auc", "auc_pooled", "accuracy"])),
        "network": fraction(nullable=True),
        "baseline": fraction(nullable=True),
        "difference": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "p": fraction(nullable=True),
        "n_subjects": whole(),
        "test": text(),
    }
)
#: Comparison of mean maps: of the two classes by one method (`comparison` "classes", `first` equals `second`), or of
#: two methods in one group. `distance` is Euclidean over brain voxels, of raw maps or of maps scaled to a sum of
#: |values| of 1; `spearman` is over voxels or, with the scaling "enrichment", over regions; `n` counts these.
AGREEMENT = schema(
    {
        "comparison": text(checks=pa.Check.isin(["classes", "methods"])),
        "scaling": text(checks=pa.Check.isin(["raw", "scaled", "enrichment"])),
        "group": text(),
        "first": text(),
        "second": text(),
        "distance": real(nullable=True),
        "spearman": real(nullable=True),
        "over": text(checks=pa.Check.isin(["voxels", "regions"])),
        "n": whole(),
    },
    unique=["comparison", "scaling", "group", "first", "second"],
)
#: One row for each method: how well its mean map of the positive class detects the planted loss of volume, with the
#: value of each figure that is expected by chance. A voxel or region is in the truth if its mean log-Jacobian is below
#: minus the `threshold`. Columns with `change` count any change, gains of volume among them. `null_95` and `p_regions`
#: come from permutations of the regions; `shuffled_…`, `z`, `p` and `p_family` from networks trained on shuffled
#: diagnoses, if there are any.
TRUTH = schema(
    {
        "method": text(unique=True),
        "region_auprc": real(nullable=True),
        "region_chance": real(nullable=True),
        "region_ndcg": real(nullable=True),
        "ndcg_chance": real(nullable=True),
        "region_spearman": real(nullable=True),
        "spearman_chance": real(nullable=True),
        "voxel_auprc": real(nullable=True),
        "voxel_chance": fraction(),
        "voxel_ndcg": real(nullable=True),
        "voxel_ndcg_chance": real(nullable=True),
        "share_inside": real(nullable=True),
        "share_chance": fraction(),
        "change_auprc": real(nullable=True),
        "change_chance": real(nullable=True),
        "change_voxel_auprc": real(nullable=True),
        "change_voxel_chance": fraction(),
        "null_95": real(nullable=True),
        "p_regions": real(nullable=True),
        "n_shuffled": whole(),
        "shuffled_auprc": real(nullable=True),
        "shuffled_sd": real(nullable=True),
        "shuffled_low": real(nullable=True),
        "shuffled_high": real(nullable=True),
        "z": real(nullable=True),
        "p": real(nullable=True),
        "p_family": real(nullable=True),
        "verdict": text(checks=pa.Check.isin(["detected", "not detected", "no verdict"])),
        "n_regions": whole(),
        "n_truth_regions": whole(),
        "n_changed_regions": whole(),
        "n_voxels": whole(),
        "n_truth_voxels": whole(),
        "threshold": real(),
        "n_permutations": whole(),
    }
)
#: The regional AUPRC of each draw of networks trained on shuffled diagnoses, by method.
TRUTH_DRAWS = schema(
    {"method": text(), "draw": whole(), "region_auprc": real(nullable=True)}, unique=["method", "draw"]
)
#: The planted disease in the regions of the scoring atlas: mean log-Jacobian, and relative change of volume (-0.25 is a
#: loss of a quarter), over the region's brain voxels; whether the region counts as lost or as changed; and the mean
#: enrichment in scans of the positive class, one row for each method.
SCORED_REGIONS = schema(
    {
        "region_id": whole(),
        "region": text(),
        "log_jacobian": real(),
        "volume_change": real(),
        "loss": pa.Column(bool, coerce=True),
        "change": pa.Column(bool, coerce=True),
        "method": text(),
        "enrichment": real(nullable=True),
    },
    unique=["region_id", "method"],
)
#: Networks trained on shuffled diagnoses: for each fold, draw and method, mean enrichment of the regions over the test
#: subjects of the fold that are in the positive class by the shuffled diagnoses.
SHUFFLED = schema(
    {
        "fold": whole(),
        "draw": whole(),
        "method": text(),
        "region_id": whole(),
        "enrichment": real(nullable=True),
        "n_subjects": whole(),
    },
    unique=["fold", "draw", "method", "region_id"],
)
#: Maps of the baseline by region: `enrichment` is the region's share of the map divided by its share of the brain's
#: voxels, 1 in a flat map, and empty for a region without a voxel inside the brain. Draw 0 is fitted on the true
#: diagnoses, the others on permuted ones.
BASELINE_RELEVANCE = schema(
    {
        "draw": whole(checks=pa.Check.ge(0)),
        "map": text(checks=pa.Check.isin(BASELINE_MAPS)),
        "region_id": whole(),
        "enrichment": real(nullable=True, checks=pa.Check.ge(0)),
    },
    unique=["draw", "map", "region_id"],
)
#: ROC curve (mean over folds) of a model by subject at fixed false positive rates, with its pointwise bootstrap band.
ROC = schema(
    {
        "model": text(),
        "fpr": fraction(),
        "tpr": fraction(nullable=True),
        "low": fraction(nullable=True),
        "high": fraction(nullable=True),
    },
    unique=["model", "fpr"],
)


def write_table(frame, path, schema):
    """Check `frame` against `schema` and write it as TSV with the schema's columns in order.

    Raises
    ------
    InputError
        A column is missing or a value is not allowed, which is an error of the program; column and value are named.
    """
    frame = _check(
        frame.reindex(columns=list(schema.columns)) if not len(frame) else frame[list(schema.columns)], path, schema
    )
    frame.to_csv(path, sep="\t", index=False, lineterminator="\n", float_format="%.10g")


def read_table(path, schema):
    """Read a TSV of the study and check it against `schema`; empty cells of text columns become None."""
    (frame,) = read_pieces(path, schema, rows=None)
    return frame


def read_pieces(path, schema, rows=20_000):
    """Yield a TSV of the study in pieces of `rows` rows, each checked against `schema`."""
    text = {name: str for name, column in schema.columns.items() if str(column.dtype) == "str"}
    try:
        frames = pd.read_csv(path, sep="\t", dtype=text, keep_default_na=False, na_values=[""], chunksize=rows)
        for frame in [frames] if rows is None else frames:
            yield _check(frame, path, schema)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            "a table of the study cannot be read",
            file=path,
            found=str(error),
            hint="run snakemake again to write it again",
        ) from error


def _check(frame, path, schema):
    # pandera turns missing text into "nan" when it coerces to str: text columns are converted here instead.
    frame = frame.copy()
    for name, column in schema.columns.items():
        if name in frame and str(column.dtype) == "str":
            frame[name] = frame[name].map(lambda value: None if pd.isna(value) else str(value)).astype(object)
    try:
        checked = _as_objects(schema).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        case = error.failure_cases.iloc[0]
        row = None if pd.isna(case["index"]) else int(case["index"]) + 2
        raise InputError(
            "a table does not follow its schema",
            file=path,
            row=row,
            column=case["column"],
            found=case["failure_case"],
            allowed=str(case["check"]),
        ) from error
    return checked.reset_index(drop=True)


def _as_objects(schema):
    text = {
        name: {"dtype": None, "coerce": False} for name, column in schema.columns.items() if str(column.dtype) == "str"
    }
    return schema.update_columns(text)
