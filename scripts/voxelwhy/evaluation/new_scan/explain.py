"""Explain a scan that is in no fold by a finished study, and write its page; complete or not at all."""

from __future__ import annotations

import difflib
import logging
import secrets
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.errors import ConfigError, InputError, require_writable
from voxelwhy.evaluation.external.predictions import predict_external
from voxelwhy.evaluation.new_scan.checks import measure
from voxelwhy.evaluation.new_scan.compare import compare_regions, compare_score, compare_volumes
from voxelwhy.evaluation.new_scan.reference import wide
from voxelwhy.heatmaps.explain_scans import Explainer
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.heatmaps.sums import method_card
from voxelwhy.io.images import Grid, save_image, write_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.scans import looks_skull_stripped, read_scan
from voxelwhy.registration.image_properties import find_places, measure_image
from voxelwhy.registration.store import register_shared
from voxelwhy.report.new_scan.page import write_page
from voxelwhy.training.region_means import measure_regions
from voxelwhy.training.volumes import counted_voxels

log = logging.getLogger(__name__)

#: The file that marks a folder as one of these, so that it may be replaced.
RESULT = "result.json"
#: On a finer grid, several methods would take more time than the registration.
FINE_MM = 1.5


def explain_new(reference, path, out_dir, *, name, age=None, sex=None, methods=None):
    """Check, register, classify and explain one scan, compare it with the study, and write its page.

    Parameters
    ----------
    reference : reference.Reference, of a finished study
    path : the scan: an image file, or a folder with one DICOM series
    out_dir : path of the folder that is made; one that an earlier call made is replaced
    name : str, how the scan is called on the page
    age : float, optional, years
    sex : "F" or "M", optional
    methods : sequence of names, optional; see `choose_methods`

    Returns
    -------
    result : dict, the content of result.json

    Raises
    ------
    InputError : the scan is refused: it cannot be read or is not one of a head or brain, it shows a whole head where
        the study has brains (or vice versa), or it cannot be registered. Nothing is written then.
    ConfigError : the study has no such method.
    """
    study, started = reference.study, time.monotonic()
    methods = choose_methods(study, methods)
    with _complete(out_dir) as folder:
        quality, checks, new = check_new(reference, path, folder, name=name, age=age, sex=sex)
        checked = time.monotonic()
        scores = classify(study, folder, name)
        score = compare_score(reference, scores)
        explained = {method: explained_class(study, method, score["probability"]) for method in methods}
        relevance = {method: [] for method in methods}
        sums = explain_folds(study, folder / "t1.nii", explained, relevance)
        result = {
            "scan": {"name": name, "path": str(path), "age": age, "sex": sex, "voxel_hash": quality["voxel_hash"]},
            "study": describe_study(study),
            "status": "within the cohort" if all(check["passed"] for check in checks) else "flagged",
            "checks": checks,
            "score": score,
            "methods": describe_methods(study, explained),
            "volume": {"channel": reference.volume_channel},
        }
        regions = pd.concat(
            [compare_regions(reference, method, own, explained[method]) for method, own in relevance.items()]
        )
        volumes = compare_volumes(reference, new[reference.volume_channel])
        write_maps(study, folder, sums, relevance)
        result["seconds"] = {"checks": checked - started, "all": time.monotonic() - started}
        result["versions"] = software_versions()
        write_json(folder / RESULT, _plain(result))
        regions.to_csv(folder / "regions.tsv", sep="\t", index=False, float_format="%.6g")
        volumes.to_csv(folder / "volumes.tsv", sep="\t", index=False, float_format="%.6g")
        pd.DataFrame(checks).to_csv(folder / "checks.tsv", sep="\t", index=False)
        scores.to_csv(folder / "folds.tsv", sep="\t", index=False, float_format="%.10g")
        write_page(study, reference, result, regions, volumes, folder, shown_at=out_dir)
    return _plain(result)


def check_new(reference, path, folder, *, name, age=None, sex=None):
    """Register a scan into a folder, and check it.

    Returns
    -------
    quality : dict, the content of its quality.json
    checks, means : as from `check_scan`

    Raises
    ------
    InputError : the scan is refused, as by `explain_new`.
    """
    require_scan(reference.study, path)
    quality = register_new(reference.study, path, folder, name)
    return quality, *check_scan(reference, folder, quality, age=age, sex=sex)


def choose_methods(study, names=None):
    """The methods to use, the best-supported first.

    Parameters
    ----------
    names : methods of the study, "best" (its best-supported) or "all"; by default all, or the best-supported alone on a
        grid finer than FINE_MM

    Raises
    ------
    ConfigError : the study has no maps by one of these methods.
    """
    ordered = [support.method for support in study.supports]
    if not names:
        brain = Grid.of(nib.load(study.path("template/brain_mask.nii.gz")))
        names = ["best"] if brain.voxel_mm.min() < FINE_MM else ["all"]
    meant = {"best": ordered[:1], "all": ordered}
    names = [method for name in names for method in meant.get(name, [name])]
    if unknown := [name for name in names if name not in ordered]:
        near = difflib.get_close_matches(unknown[0], [*ordered, *meant], n=1)
        raise ConfigError(
            "the study has no heatmaps by this method",
            column="--methods",
            found=unknown[0],
            allowed=[*ordered, *meant],
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return [name for name in ordered if name in names]


def require_scan(study, path):
    """Refuse what cannot be a scan of the study's kind, before it is registered.

    Raises
    ------
    InputError : see `explain_new`.
    """
    how = study.registration
    modality = how.get("modality", "t1w")
    scan = read_scan(path, reorient=False, modality=modality)
    if how["transform"] == "none" or modality != "t1w" or "extract" in how:
        return
    stripped, cm3 = looks_skull_stripped(scan)
    kinds = {True: "a brain without its skull", False: "a whole head"}
    expected = study.head_template is None
    if stripped != expected:
        hint = (
            "extract the brain first, as for the study's scans"
            if expected
            else "give the image before brain extraction"
        )
        raise InputError(
            "the scan is not of the same kind as those of the study",
            file=path,
            found=f"what looks like {kinds[stripped]} ({cm3:.0f} cm³)",
            allowed=kinds[expected],
            hint=hint,
        )


def register_new(study, path, folder, name):
    """Register a scan as the study's were registered; returns the content of its quality.json.

    Raises
    ------
    InputError : the registration failed.
    """
    quality = register_shared(
        path,
        study.path("template/t1.nii.gz"),
        study.path("template/brain_mask.nii.gz"),
        study.registration,
        folder,
        scan_id=name,
        head_path=study.head_template,
    )
    if quality["status"] != "ok":
        raise InputError(
            "the scan cannot be registered", file=path, found=quality["reason"], hint="look at the scan in a viewer"
        )
    return quality


def measure_new(study, folder, quality):
    """Measures of a registered scan, and its means by region, {channel: DataFrame of one row}."""
    template, brain = (nib.load(study.path("template", file)) for file in ("t1.nii.gz", "brain_mask.nii.gz"))
    inside = np.asarray(brain.dataobj) > 0
    places = find_places(template.get_fdata(dtype=np.float32), inside, template.affine)
    image = nib.load(folder / "t1.nii").get_fdata(dtype=np.float32)
    measures = pd.Series(measure(quality, measure_image(image, places)))
    one = pd.DataFrame({"scan_id": [quality["scan_id"]], "t1": [str(folder / "t1.nii")]})
    labels = nib.load(study.path("atlas/labels.nii.gz"))
    table = measure_regions(one, labels, study.regions, brain, ["t1", *study.registration["maps"]])
    return measures, {name: wide(own) for name, own in table.groupby("channel")}


def check_scan(reference, folder, quality, *, age=None, sex=None):
    """All checks of a registered scan, and its means by region.

    Returns
    -------
    checks : list of dict: check, value, shown, allowed, passed, why
    means : {channel: DataFrame of one row}
    """
    study = reference.study
    measures, means = measure_new(study, folder, quality)
    checks = reference.limits.describe(measures, means["t1"])
    known = study.selected.loc[study.selected["voxel_hash"] == quality["voxel_hash"], "scan_id"]
    if len(known):
        why = "the networks of other folds were trained on it, so that nothing here is out of sample"
        checks.append(_check("Scan of the study", known.iloc[0], "in no fold", False, why))
    ages = study.selected["age"].dropna()
    if age is not None and len(ages):
        low, high = float(ages.min()), float(ages.max())
        why = "the networks have seen nobody of this age"
        checks.append(_check("Age, years", f"{age:g}", f"{low:.1f} to {high:.1f}", low <= age <= high, why))
    sexes = sorted(study.selected["sex"].dropna().unique())
    if sex is not None and sexes and sex not in sexes:
        checks.append(_check("Sex", sex, ", ".join(sexes), False, "the networks have seen nobody of this sex"))
    return checks, means


def _check(title, shown, allowed, passed, why):
    return {"check": title, "value": shown, "shown": str(shown), "allowed": allowed, "passed": bool(passed), "why": why}


def classify(study, folder, name):
    """Classify the registered scan by the network of each fold, as the study's test scans were.

    Returns
    -------
    DataFrame with fold, logit_negative, logit_positive, probability
    """
    mask, rows = nib.load(study.path("template/network_mask.nii.gz")), []
    for fold, path in study.models.items():
        # Its class is not known, and not used.
        row = {"fold": fold, "side": "test", "scan_id": name, "subject_id": "", "label": ""}
        settings = study.predicting(fold)
        if study.own:
            settings["network"] = study.own
        rows.append(
            predict_external(
                path, pd.DataFrame([row]), {name: folder / "t1.nii"}, mask, settings, fold=fold, classes=study.classes
            )
        )
    found = pd.concat(rows, ignore_index=True)
    return found[["fold", "logit_negative", "logit_positive", "probability"]]


def explained_class(study, method, probability):
    """The class that the map of a new scan explains: the positive one if the study explains it, else the predicted one.

    The true class is not known.
    """
    if study.methods[method]["target"] == "positive" or probability >= 0.5:
        return study.classes["positive"]
    return study.classes["negative"]


def explain_folds(study, t1_path, explained, relevance, folds=None):
    """Explain a registered scan by the network of each fold.

    Parameters
    ----------
    explained : {method: class that its map explains}
    relevance : {method: list}; the table of relevance by region of each fold is added
    folds : sequence of int, optional; all by default

    Returns
    -------
    {method: array (x, y, z)}: mean over folds of maps that are scaled to a sum of absolute values of 1
    """
    labels_image, brain, mask = (
        nib.load(study.path(name))
        for name in ("atlas/labels.nii.gz", "template/brain_mask.nii.gz", "template/network_mask.nii.gz")
    )
    labels, counted = np.asarray(labels_image.dataobj).astype(np.int32), counted_voxels(brain, mask)
    folds = list(study.models) if folds is None else folds
    sums = {method: np.zeros(counted.shape) for method in explained}
    for fold in folds:
        model, card = study.load(fold)
        for method, name in explained.items():
            settings = study.methods[method]
            explain = Explainer.by(method, model, card, mask, labels, settings)
            target = int(name == study.classes["positive"])
            heatmap = np.where(counted, explain(explain.read(t1_path), target), np.float32(0))
            if settings["target"] != "positive":  # as in the study's own maps
                heatmap = np.maximum(heatmap, 0)
            table = relevance_by_region(heatmap, labels, study.regions, counted)
            relevance[method].append(table.assign(fold=fold))
            total = np.abs(heatmap, dtype=np.float64).sum()
            sums[method] += heatmap / (total if total > 0 else 1) / len(folds)
            log.info("fold %d, %s", fold, method)
    return sums


def write_maps(study, folder, sums, relevance):
    """Write the map of each method, with its JSON."""
    affine = nib.load(study.path("template/brain_mask.nii.gz")).affine
    digests = {str(fold): card["weights_sha256"] for fold, card in study.cards.items()}
    for method, values in sums.items():
        target = "positive" if study.methods[method]["target"] == "positive" else "predicted"
        how = {"target": target, "scaled": True, "n_scans": 1, "n_maps": len(relevance[method])}
        card = method_card(method, study.methods[method], digests, software_versions(), **how)
        save_image(folder / f"map_{method}.nii.gz", values, affine, card | {"statistic": "mean over the folds' maps"})


def describe_study(study):
    """Name, split and size of the study, for the result."""
    folds = {
        str(fold): [training.get("temperature") for training in card.get("trainings", [])]
        for fold, card in study.cards.items()
    }
    return {
        "study": study.name,
        "split": study.split,
        "classes": dict(study.classes),
        "n_networks": len(study.models),
        "n_subjects": int(study.selected["subject_id"].nunique()),
        "n_scans": len(study.selected),
        "held_out": study.held_out,
        "simulated": study.simulated,
        "temperatures": folds if any(t is not None for own in folds.values() for t in own) else None,
        "models_sha256": {str(fold): card["weights_sha256"] for fold, card in study.cards.items()},
    }


def describe_methods(study, explained):
    """The methods of a result, the best-supported first: badge, what their maps explain, and their settings."""
    found = []
    for support in study.supports:
        if support.method in explained:
            known = {"method": support.method, "badge": list(support.badge), "phrase": support.phrase}
            found.append(known | {"explained": explained[support.method]} | study.methods[support.method])
    return found


@contextmanager
def _complete(place):
    """A folder next to `place` that becomes it if all goes well, and vanishes otherwise."""
    place = Path(place)
    if place.exists() and not (place / RESULT).is_file():
        raise InputError(
            "the output folder exists, and is not that of a new scan",
            file=place,
            allowed=f"a new folder, or one with {RESULT}",
            hint="name another folder with --out",
        )
    require_writable(place.parent)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".partial.{secrets.token_hex(4)}..{place.name}")
    beside.mkdir()
    try:
        yield beside
        aside = beside.with_name(beside.name.replace(".partial.", ".partial.old-", 1))
        if place.exists():
            place.rename(aside)
        beside.rename(place)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _plain(value):
    """Numbers, lists and dicts that JSON can hold; what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
