"""Tables of a study: one schema for each TSV that passes between stages, checked on writing and on reading."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from voxelwhy.errors import InputError

SIDES = ("train", "validation", "test")
#: A test against shuffled diagnoses has a verdict from this number of draws: with fewer, p cannot be 0.05 or less.
LEAST_DRAWS = 19
BASELINE_MAPS = ("weights", "pattern")


def _text(**options):
    return pa.Column(str, coerce=True, **options)


def _real(**options):
    return pa.Column(float, coerce=True, **options)


def _whole(**options):
    return pa.Column(int, coerce=True, **options)


def _fraction(**options):
    return _real(checks=pa.Check.in_range(0, 1), **options)


def _schema(columns, unique=None):
    return pa.DataFrameSchema(columns, strict=True, ordered=True, unique=unique)


_SCAN = {
    "scan_id": _text(unique=True, checks=pa.Check.str_matches(r"^[A-Za-z0-9_.+-]+$")),
    "subject_id": _text(),
    "session": _text(nullable=True),
    "label": _text(),
    "age": _real(nullable=True, checks=pa.Check.in_range(0, 130)),
    "sex": _text(nullable=True, checks=pa.Check.isin(["F", "M"])),
    "scan_date": _text(nullable=True),
    "image_id": _text(nullable=True),
    "path": _text(),
}
_DROPPED = {
    "table": _text(nullable=True),
    "row": pa.Column("Int64", coerce=True, nullable=True, checks=pa.Check.ge(2)),
    "scan_id": _text(nullable=True),
    "subject_id": _text(nullable=True),
    "session": _text(nullable=True),
    "label": _text(nullable=True),
    "reason": _text(),
    "detail": _text(nullable=True),
}

#: One row for each scan that the study may use; `path` is absolute or relative to the working directory.
SCANS = _schema(_SCAN)
#: One row for each entry of the source that is not used. `table` is the file of the entry and `row` its line (the
#: header is line 1); both are empty if the source has no table and its entries are files.
DROPPED = _schema(_DROPPED)
#: Scans on the template grid. `t1` is the registered image, `voxel_hash` the hash of the voxels of the original scan,
#: `t1_hash` that of the registered image, `maps_hash` that of the images derived from the registration, if any.
SELECTED = _schema(
    _SCAN
    | {
        "t1": _text(),
        "voxel_hash": _text(checks=pa.Check.str_length(64, 64)),
        "t1_hash": _text(checks=pa.Check.str_length(64, 64)),
        "maps_hash": _text(nullable=True, checks=pa.Check.str_length(64, 64)),
        "correlation_brain": _real(nullable=True),
        "mask_dice": _fraction(nullable=True),
        "jacobian_min": _real(nullable=True),
        "jacobian_max": _real(nullable=True),
    }
)
#: Results of a batch of registrations, one row for each scan. `key` identifies scan, settings and code; it is also in
#: quality.json, and empty for a scan that cannot be read.
REGISTERED = _schema(
    {
        "scan_id": _text(unique=True),
        "status": _text(checks=pa.Check.isin(["ok", "failed"])),
        "key": _text(nullable=True),
    }
)
#: Everything that the study does not use: dropped rows and scans that could not be registered.
EXCLUDED = _schema({"stage": _text(checks=pa.Check.isin(["parse_tables", "register_scan", "select_scans"]))} | _DROPPED)
#: One row for each fold and scan. `fold` counts from 0.
FOLDS = _schema(
    {
        "fold": _whole(checks=pa.Check.ge(0)),
        "side": _text(checks=pa.Check.isin(SIDES)),
        "scan_id": _text(),
        "subject_id": _text(),
        "label": _text(),
    },
    unique=["fold", "scan_id"],
)
#: Table 1, one row for each fold ("all" or its number), side and class. `age` is "mean (SD)" or "n/a", over subjects.
TABLE1 = _schema(
    {
        "fold": _text(),
        "side": _text(checks=pa.Check.isin(["all", *SIDES])),
        "class": _text(),
        "subjects": _whole(),
        "scans": _whole(),
        "age": _text(),
        "age_known": _whole(),
        "female": _whole(),
        "male": _whole(),
        "sex_unknown": _whole(),
    },
    unique=["fold", "side", "class"],
)
#: One row for each training (`member`, from 0; several if training.seeds is above 1) and epoch, counted from 1.
#: Validation columns are empty if there are no validation scans.
HISTORY = _schema(
    {
        "member": _whole(checks=pa.Check.ge(0)),
        "epoch": _whole(checks=pa.Check.ge(1)),
        "train_loss": _real(),
        "train_accuracy": _fraction(),
        "validation_loss": _real(nullable=True),
        "validation_accuracy": _fraction(nullable=True),
    },
    unique=["member", "epoch"],
)
#: Out-of-sample predictions, one row for each fold and test scan; `probability` is that of the positive class.
PREDICTIONS = _schema(
    {
        "fold": _whole(),
        "scan_id": _text(),
        "subject_id": _text(),
        "label": _text(),
        "logit_negative": _real(),
        "logit_positive": _real(),
        "probability": _fraction(),
    },
    unique=["fold", "scan_id"],
)
#: The regions of the atlas on the study's grid.
ATLAS = _schema(
    {
        "region_id": _whole(unique=True, checks=pa.Check.ge(1)),
        "region": _text(unique=True),
        "voxels": _whole(checks=pa.Check.ge(1)),
        "volume_mm3": _real(checks=pa.Check.gt(0)),
    }
)
#: One row for each map and region: `total` is the sum of relevance divided by the sum of absolute relevance of the map,
#: `share` the fraction of its positive relevance (0 to 1), `enrichment` that share divided by the region's share of the
#: volume. `target` is the class that the map explains.
RELEVANCE = _schema(
    {
        "scan_id": _text(),
        "subject_id": _text(),
        "label": _text(),
        "fold": _whole(),
        "target": _text(),
        "probability": _fraction(),
        "region_id": _whole(),
        "region": _text(),
        "total": _real(),
        "share": _real(nullable=True),
        "enrichment": _real(nullable=True),
    },
    unique=["scan_id", "fold", "target", "region_id"],
)
#: One row for each group and region: means over subjects with intervals, which are empty below 8 subjects; rank 1 is
#: the largest enrichment. Regions of the positive class are compared with networks trained on shuffled diagnoses, if
#: there are any; `p_family` corrects over the regions.
REGIONS = _schema(
    {
        "group": _text(),
        "region_id": _whole(),
        "region": _text(),
        "n_subjects": _whole(),
        "n_scans": _whole(),
        "volume_mm3": _real(),
    }
    | {
        f"{figure}{end}": _real(nullable=True)
        for figure in ("enrichment", "share", "total")
        for end in ("", "_low", "_high")
    }
    | {"rank": _whole(), "n_shuffled": _whole()}
    | {name: _real(nullable=True) for name in ("shuffled_mean", "shuffled_sd", "z", "p", "p_family")},
    unique=["group", "region_id"],
)
#: One row for each imported map and region, as RELEVANCE for a scan; a mean map has no interval over subjects.
IMPORTED = _schema(
    {
        "name": _text(),
        "group": _text(),
        "region_id": _whole(),
        "region": _text(),
        "volume_mm3": _real(),
        "total": _real(),
        "share": _real(nullable=True),
        "enrichment": _real(nullable=True),
        "rank": _whole(),
    },
    unique=["name", "group", "region_id"],
)
#: One row for each model, level (subject or scan), fold ("all" or its number) and metric. `p` is that of the
#: permutation test against chance, at the level "subject" and for all folds; sensitivity and specificity have none.
#: `auc` is within folds and `auc_pooled` over pairs of all folds; they are equal in a single fold.
METRICS = _schema(
    {
        "model": _text(),
        "level": _text(checks=pa.Check.isin(["scan", "subject"])),
        "fold": _text(),
        "metric": _text(),
        "value": _real(nullable=True),
        "low": _real(nullable=True),
        "high": _real(nullable=True),
        "p": _fraction(nullable=True),
        "n_scans": _whole(),
        "n_subjects": _whole(),
    }
)
#: The network compared with the baseline, by subject and over all folds: one row for each metric. `low` and `high`
#: are the limits of `difference`, network minus baseline.
DIFFERENCES = _schema(
    {
        "metric": _text(unique=True, checks=pa.Check.isin(["auc", "auc_pooled", "accuracy"])),
        "network": _fraction(nullable=True),
        "baseline": _fraction(nullable=True),
        "difference": _real(nullable=True),
        "low": _real(nullable=True),
        "high": _real(nullable=True),
        "p": _fraction(nullable=True),
        "n_subjects": _whole(),
        "test": _text(),
    }
)
#: Comparison of mean maps: of the two classes by one method (`comparison` "classes", `first` equals `second`), or of
#: two methods in one group. `distance` is Euclidean over brain voxels, of raw maps or of maps scaled to a sum of
#: |values| of 1; `spearman` is over voxels or, with the scaling "enrichment", over regions; `n` counts these.
AGREEMENT = _schema(
    {
        "comparison": _text(checks=pa.Check.isin(["classes", "methods"])),
        "scaling": _text(checks=pa.Check.isin(["raw", "scaled", "enrichment"])),
        "group": _text(),
        "first": _text(),
        "second": _text(),
        "distance": _real(nullable=True),
        "spearman": _real(nullable=True),
        "over": _text(checks=pa.Check.isin(["voxels", "regions"])),
        "n": _whole(),
    },
    unique=["comparison", "scaling", "group", "first", "second"],
)
#: One row for each method: how well its mean map of the positive class detects the planted loss of volume, with the
#: value of each figure that is expected by chance. A voxel or region is in the truth if its mean log-Jacobian is below
#: minus the `threshold`. Columns with `change` count any change, gains of volume among them. `null_95` and `p_regions`
#: come from permutations of the regions; `shuffled_…`, `z`, `p` and `p_family` from networks trained on shuffled
#: diagnoses, if there are any.
TRUTH = _schema(
    {
        "method": _text(unique=True),
        "region_auprc": _real(nullable=True),
        "region_chance": _real(nullable=True),
        "region_ndcg": _real(nullable=True),
        "ndcg_chance": _real(nullable=True),
        "region_spearman": _real(nullable=True),
        "spearman_chance": _real(nullable=True),
        "voxel_auprc": _real(nullable=True),
        "voxel_chance": _fraction(),
        "voxel_ndcg": _real(nullable=True),
        "voxel_ndcg_chance": _real(nullable=True),
        "share_inside": _real(nullable=True),
        "share_chance": _fraction(),
        "change_auprc": _real(nullable=True),
        "change_chance": _real(nullable=True),
        "change_voxel_auprc": _real(nullable=True),
        "change_voxel_chance": _fraction(),
        "null_95": _real(nullable=True),
        "p_regions": _real(nullable=True),
        "n_shuffled": _whole(),
        "shuffled_auprc": _real(nullable=True),
        "shuffled_sd": _real(nullable=True),
        "shuffled_low": _real(nullable=True),
        "shuffled_high": _real(nullable=True),
        "z": _real(nullable=True),
        "p": _real(nullable=True),
        "p_family": _real(nullable=True),
        "verdict": _text(checks=pa.Check.isin(["detected", "not detected", "no verdict"])),
        "n_regions": _whole(),
        "n_truth_regions": _whole(),
        "n_changed_regions": _whole(),
        "n_voxels": _whole(),
        "n_truth_voxels": _whole(),
        "threshold": _real(),
        "n_permutations": _whole(),
    }
)
#: The regional AUPRC of each draw of networks trained on shuffled diagnoses, by method.
TRUTH_DRAWS = _schema(
    {"method": _text(), "draw": _whole(), "region_auprc": _real(nullable=True)}, unique=["method", "draw"]
)
#: The planted disease in the regions of the scoring atlas: mean log-Jacobian, and relative change of volume (-0.25 is a
#: loss of a quarter), over the region's brain voxels; whether the region counts as lost or as changed; and the mean
#: enrichment in scans of the positive class, one row for each method.
SCORED_REGIONS = _schema(
    {
        "region_id": _whole(),
        "region": _text(),
        "log_jacobian": _real(),
        "volume_change": _real(),
        "loss": pa.Column(bool, coerce=True),
        "change": pa.Column(bool, coerce=True),
        "method": _text(),
        "enrichment": _real(nullable=True),
    },
    unique=["region_id", "method"],
)
#: Networks trained on shuffled diagnoses: for each fold, draw and method, mean enrichment of the regions over the test
#: subjects of the fold that are in the positive class by the shuffled diagnoses.
SHUFFLED = _schema(
    {
        "fold": _whole(),
        "draw": _whole(),
        "method": _text(),
        "region_id": _whole(),
        "enrichment": _real(nullable=True),
        "n_subjects": _whole(),
    },
    unique=["fold", "draw", "method", "region_id"],
)
#: Maps of the baseline by region: `enrichment` is the region's share of the map divided by its share of the brain's
#: voxels, 1 in a flat map, and empty for a region without a voxel inside the brain. Draw 0 is fitted on the true
#: diagnoses, the others on permuted ones.
BASELINE_RELEVANCE = _schema(
    {
        "draw": _whole(checks=pa.Check.ge(0)),
        "map": _text(checks=pa.Check.isin(BASELINE_MAPS)),
        "region_id": _whole(),
        "enrichment": _real(nullable=True, checks=pa.Check.ge(0)),
    },
    unique=["draw", "map", "region_id"],
)
#: ROC curve (mean over folds) of a model by subject at fixed false positive rates, with its pointwise bootstrap band.
ROC = _schema(
    {
        "model": _text(),
        "fpr": _fraction(),
        "tpr": _fraction(nullable=True),
        "low": _fraction(nullable=True),
        "high": _fraction(nullable=True),
    },
    unique=["model", "fpr"],
)
#: Confounds of a simulated cohort, one row for each, planted (its `strength` is not 0) or not. `measured` is the column
#: of the manifest from which mean and standard deviation are computed; patients are the scans of Dementia, controls
#: those of CN. Figures are undefined for too few scans, and `cohens_d` if nothing varies.
CONFOUNDS = _schema(
    {"confound": _text(unique=True), "strength": _real(), "unit": _text(), "measured": _text()}
    | {
        f"{side}_{figure}": _whole() if figure == "scans" else _real(nullable=True)
        for side in ("patients", "controls")
        for figure in ("mean", "sd", "scans")
    }
    | {"difference": _real(nullable=True), "cohens_d": _real(nullable=True)}
)
#: The planted disease by region of the simulated atrophy: volume changes as fractions (-0.25 is a loss of a quarter).
#: If the volume of a structure defines the classes, the difference between them; nothing is wanted then.
TRUTH_REGIONS = _schema(
    {
        "region": _text(unique=True),
        "volume_mm3": _real(),
        "wanted": _real(nullable=True),
        "achieved": _real(),
        "source": _text(),
    }
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
