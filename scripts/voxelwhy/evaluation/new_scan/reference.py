"""What a new scan is compared with: scores, relevance and regions of the study's own scans, one value for a subject."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.evaluation.intervals import exact_interval
from voxelwhy.evaluation.new_scan.checks import Limits, count_alarms, measure
from voxelwhy.evaluation.new_scan.study import FinishedStudy
from voxelwhy.io.tables import COVARIATES, REGION_MEANS, RELEVANCE, read_table
from voxelwhy.registration.image_properties import IMAGE_PROPERTIES, measure_scans
from voxelwhy.training.region_means import measure_regions

#: Fewer subjects of a class give no percentile.
LEAST_SUBJECTS = 5
#: What stands for the volume of a region, the best first, and what it is.
VOLUMES = {
    "log_jacobian": "relative to the template (mean log-Jacobian; differences in head size are removed)",
    "grey_matter_modulated": "of grey matter (mean of modulated grey matter)",
    "t1": "mean after registration, relative to the mean over all regions; it stands in for volume, since "
    "this study has no maps of volume (registration.maps: [log_jacobian])",
}


@dataclass(frozen=True)
class Reference:
    """The scans of a study that a new scan is compared with.

    Attributes
    ----------
    study : FinishedStudy
    """

    study: FinishedStudy

    @cached_property
    def means(self):
        """Means by region, {channel: DataFrame, scans by regions}."""
        path = self.study.path("cohort/region_means.tsv")
        if path.exists():
            table = read_table(path, REGION_MEANS)
        else:
            table = measure_regions(self.study.selected, *self.atlas, sorted(self.channels))
        return {name: wide(own) for name, own in table.groupby("channel")}

    @property
    def channels(self):
        """The images of which regions are measured."""
        return ["t1", *self.study.registration["maps"]]

    @cached_property
    def atlas(self):
        """Label image, table of regions and brain mask."""
        images = [nib.load(self.study.path(name)) for name in ("atlas/labels.nii.gz", "template/brain_mask.nii.gz")]
        return images[0], self.study.regions, images[1]

    @cached_property
    def measures(self):
        """Measures of the scans, by scan_id (checks.measure)."""
        path = self.study.path("cohort/image_properties.tsv")
        if path.exists():
            table = read_table(path, COVARIATES)
        else:
            templates = [self.study.path("template", name) for name in ("t1.nii.gz", "brain_mask.nii.gz")]
            table = measure_scans(self.study.selected, *templates)
        properties = table.assign(value=table["value"].astype(float)).pivot(
            index="scan_id", columns="covariate", values="value"
        )[list(IMAGE_PROPERTIES)]
        rows = {scan: measure(self.study.qualities[scan], properties.loc[scan]) for scan in properties.index}
        return pd.DataFrame.from_dict(rows, orient="index").loc[self.study.selected["scan_id"]]

    @property
    def subjects(self):
        """The subject of each scan."""
        return self.study.selected.set_index("scan_id")["subject_id"]

    @cached_property
    def limits(self):
        """What the scans of the cohort look like."""
        return Limits(self.measures, self.means["t1"].loc[self.measures.index], self.subjects)

    def false_alarms(self):
        """Which scans of the study would be flagged by limits from the other folds (checks.count_alarms)."""
        tested = {fold: list(own["scan_id"]) for fold, own in self.study.predictions.groupby("fold")}
        return count_alarms(self.measures, self.means["t1"].loc[self.measures.index], self.subjects, tested)

    @cached_property
    def alarm_words(self):
        """How often the checks flag scans of the study itself, in words."""
        flagged = self.false_alarms().any(axis=1)
        k, n = int(flagged.sum()), len(flagged)
        low, high = exact_interval(k, n)
        return (
            f"By these checks, each with limits from the other folds, {k} of {n} scans of the study would be flagged: "
            f"{100 * k / n:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)."
        )

    @property
    def volume_words(self):
        """What stands for the volume of a region, in words."""
        return VOLUMES[self.volume_channel]

    @cached_property
    def scores(self):
        """Probability of the positive class by class, one value a subject: {class: Series}."""
        return by_subject(self.study.predictions, "probability", self.study.classes)

    @property
    def volume_channel(self):
        """The channel that stands for the volume of a region."""
        return next(name for name in VOLUMES if name in self.means)

    def volumes(self):
        """Volumes, or what stands for them, by class: {class: DataFrame, subjects by regions}."""
        table, selected = self.means[self.volume_channel], self.study.selected.set_index("scan_id")
        rows = table.loc[selected.index].groupby([selected["label"], selected["subject_id"]]).mean()
        return {name: rows.loc[name] for name in self.study.classes.values() if name in rows.index.levels[0]}

    def relevance(self, method, target):
        """Enrichment in the maps of the study that explain `target`: {class: DataFrame, subjects by regions}."""
        table = read_table(self.study.relevance_path(method), RELEVANCE)
        table = table[table["target"] == target]
        rows = table.pivot_table(
            index=["label", "subject_id"], columns="region_id", values="enrichment", aggfunc="mean", dropna=False
        )
        known = set(table["label"])
        return {name: rows.loc[name].dropna(how="all") for name in self.study.classes.values() if name in known}


def wide(table):
    """A table of one channel by tables.REGION_MEANS as scans by regions, in their order."""
    found = table.pivot(index="scan_id", columns="region_id", values="mean")
    return found.loc[table["scan_id"].unique(), table["region_id"].unique()]


def by_subject(table, column, classes):
    """The mean of a column over the scans of each subject, by class: {class: Series by subject}."""
    means = table.groupby(["label", "subject_id"])[column].mean()
    return {name: means.loc[name] for name in classes.values() if name in set(table["label"])}


def percentile(value, reference):
    """The percentile of a value among those of a reference: the share below it, and half of those equal to it.

    Parameters
    ----------
    value : float
    reference : array (subjects,); NaN are left out

    Returns
    -------
    dict : percentile, low, high (exact 95 % interval of the share, Clopper & Pearson 1934) and n; NaN for a value that
        is not finite, or fewer than LEAST_SUBJECTS subjects

    Examples
    --------
    >>> percentile(3, [1, 2, 3, 4, 5, 6, 7, 8])["percentile"]
    31.25
    """
    known = np.asarray(reference, dtype=float)
    known = known[np.isfinite(known)]
    n = len(known)
    if n < LEAST_SUBJECTS or not np.isfinite(value):
        return {"percentile": np.nan, "low": np.nan, "high": np.nan, "n": n}
    below = float((known < value).sum() + (known == value).sum() / 2)
    low, high = exact_interval(below, n)
    return {"percentile": 100 * below / n, "low": 100 * low, "high": 100 * high, "n": n}
