"""Tables of the section Trust: how far a study's accuracy and heatmaps can be trusted; see `io.tables` for others."""

from __future__ import annotations

import pandera.pandas as pa

from voxelwhy.io.columns import fraction, real, schema, text, whole

#: Measures of CLINICAL in their order, with their titles.
MEASURES = {
    "calibration_intercept": "calibration in the large",
    "calibration_slope": "calibration slope",
    "brier": "Brier score",
    "sensitivity_90": "sensitivity at 90 % specificity",
    "specificity_90": "specificity reached there",
    "sensitivity_95": "sensitivity at 95 % specificity",
    "specificity_95": "specificity reached there",
    "net_benefit": "net benefit at the prevalence",
    "auc": "AUC",
}
#: Checks of SHORTCUTS, with what they say.
CHECKS = {
    "follows": "the score follows the property within a class",
    "differs": "the property differs between the classes",
    "nuisances_alone": "the properties alone predict the diagnosis",
    "given_nuisances": "the score predicts the diagnosis beyond the properties",
    "matched": "the AUC in pairs that are alike in these properties",
    "silhouette": "the network on the silhouette of each scan alone",
    "background": "the network on the background of each scan alone",
    "decoded_network": "features of the network tell the property of controls",
    "decoded_regions": "region means tell the property of controls",
    "outside": "share of relevance outside the brain",
    "unknown": "not known for the scans, so not tested",
}
#: Checks of SHORTCUTS that are tests, corrected over all of them: a corrected p of at most 0.05 raises a property.
TESTED = ("follows", "differs")
#: What reviewers ask about the scores of a network, one row for each measure and group of subjects ("all", or a stratum
#: such as "female"); empty if the measure is not defined there.
CLINICAL = schema(
    {
        "measure": text(),
        "group": text(),
        "value": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "n_subjects": whole(),
    },
    unique=["measure", "group"],
)
#: Curves behind them: `calibration`, the share of positive subjects (y) by mean probability (x) in groups of equal
#: size, with its interval; `net_benefit`, of the network, and `treat_all` (y), by threshold probability (x).
CLINICAL_CURVES = schema(
    {
        "curve": text(checks=pa.Check.isin(["calibration", "net_benefit", "treat_all"])),
        "x": fraction(),
        "y": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "n_subjects": whole(),
    }
)
#: What the score of a network follows besides the diagnosis, one row for each check, property and group of subjects.
#: `p_family` corrects over the rows of the checks follows and differs (Holm).
SHORTCUTS = schema(
    {
        "check": text(),
        "property": text(),
        "group": text(),
        "measure": text(),
        "value": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "p": fraction(nullable=True),
        "p_family": fraction(nullable=True),
        "n_subjects": whole(),
    },
    unique=["check", "property", "group"],
)
#: The network on images without a brain, and what can be read from its features, one row for each fold and test scan:
#: the score by `probe` silhouette and background (`of` is the reason where there is none); the share of a map outside
#: the brain (outside; `of` is the method); a property (`of`) of controls and its prediction from the features of the
#: network or from region means (`source`), numbers or 0 and 1.
SHORTCUT_PROBES = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "probe": text(checks=pa.Check.isin(["silhouette", "background", "outside", "decoded Spearman", "decoded AUC"])),
        "of": text(nullable=True),
        "source": text(nullable=True),
        "value": real(nullable=True),
        "truth": real(nullable=True),
    },
    unique=["fold", "scan_id", "probe", "of", "source"],
)
#: Regions in which the relevance of patients differs from that of controls, one row for each: difference of enrichment,
#: adjusted for covariates, with interval; t, p, and p corrected over regions (max-T); the rank of the region by
#: enrichment in patients, with its interval, and the share of resamples in which it is among the first ten.
CLASS_REGIONS = schema(
    {
        "region_id": whole(unique=True),
        "region": text(),
        "n_positive": whole(),
        "n_negative": whole(),
        "covariates": text(nullable=True),
        "effect": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "t": real(nullable=True),
        "p": fraction(nullable=True),
        "p_family": fraction(nullable=True),
        "rank": real(nullable=True),
        "rank_low": real(nullable=True),
        "rank_high": real(nullable=True),
        "among_first": fraction(nullable=True),
    }
)
#: Change of the score when regions are blanked in the order of a heatmap, one row for each fold, scan, fill, order and
#: step: at least the share `step` of the brain's volume is blanked, which is `fraction`. `order` is most or least (of a
#: method), or random (the mean of all random orders, without a method).
FAITHFULNESS = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "fill": text(),
        "method": text(nullable=True),
        "order": text(checks=pa.Check.isin(["most", "least", "random"])),
        "step": fraction(),
        "fraction": fraction(),
        "drop": real(),
    }
)
#: The same by fill and method: mean drops over steps and subjects, and whether the method's order beats random ones.
FAITHFULNESS_SUMMARY = schema(
    {"fill": text(), "method": text(), "n_subjects": whole()}
    | {name: real() for name in ("most", "least", "random", "contrast", "gain")}
    | {name: real(nullable=True) for name in ("low", "high")}
    | {name: fraction(nullable=True) for name in ("p", "p_family")},
    unique=["fill", "method"],
)
#: Similarity of a scan's map to that of the same network with `depth` layers reset, the last of them `layer`; depth 0
#: is the map of another subject by the trained network.
RANDOMISED = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "method": text(),
        "depth": whole(),
        "layer": text(nullable=True),
        "spearman": real(),
        "spearman_absolute": real(),
        "ssim": real(),
    },
    unique=["fold", "scan_id", "method", "depth"],
)
#: The same by method, depth and measure: mean over subjects with its interval.
RANDOMISED_SUMMARY = schema(
    {
        "method": text(),
        "depth": whole(),
        "layer": text(nullable=True),
        "measure": text(),
        "value": real(),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "n_subjects": whole(),
    },
    unique=["method", "depth", "measure"],
)
#: Agreement of maps of one scan by several trainings of its fold: Spearman's correlation between the mean of `averaged`
#: trainings and that of as many others. `first` and `second` are their numbers, joined by "+"; 0 is the study's own.
TRAININGS_MAPS = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "method": text(),
        "averaged": whole(),
        "first": text(),
        "second": text(),
        "spearman": real(),
    },
    unique=["fold", "scan_id", "method", "averaged", "first", "second"],
)
#: Enrichment of each region in the map of a scan by each training; empty if the map has no positive relevance.
TRAININGS_REGIONS = schema(
    {
        "fold": whole(),
        "scan_id": text(),
        "subject_id": text(),
        "label": text(),
        "method": text(),
        "training": whole(),
        "region_id": whole(),
        "region": text(),
        "enrichment": real(nullable=True),
    },
    unique=["fold", "scan_id", "method", "training", "region_id"],
)
#: How far maps and tables of regions come out again, one row for each method and comparison (`evaluation.stability`).
STABILITY = schema(
    {
        "method": text(),
        "of": text(checks=pa.Check.isin(["maps", "regions"])),
        "comparison": text(),
        "measure": text(checks=pa.Check.isin(["spearman", "first_ten"])),
        "value": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "n_subjects": whole(),
        "n_trainings": whole(),
    },
    unique=["method", "of", "comparison", "measure"],
)
#: ICC(2,1) of the enrichment of each region between trainings, and its rank among the regions: mean, smallest and
#: largest over the trainings.
STABILITY_REGIONS = schema(
    {
        "method": text(),
        "region_id": whole(),
        "region": text(),
        "icc": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "rank": real(nullable=True),
        "rank_low": real(nullable=True),
        "rank_high": real(nullable=True),
        "n_subjects": whole(),
        "n_trainings": whole(),
    },
    unique=["method", "region_id"],
)
#: How far to trust a study, in one row for each answer: a number with interval or p, its n, and a plain sentence.
TRUST = schema(
    {
        "part": text(),
        "of": text(),
        "measure": text(),
        "value": real(nullable=True),
        "low": real(nullable=True),
        "high": real(nullable=True),
        "p": fraction(nullable=True),
        "n_subjects": whole(),
        "sentence": text(),
    },
    unique=["part", "of", "measure"],
)
#: Controls in which a loss or a sham was planted, one row for each. `space` is where the scan was deformed; `rms_mm`
#: the root mean square displacement inside the brain, in template space; `largest_change` the largest relative change
#: of volume of a region.
PLANTED_SCANS = schema(
    {
        "scan_id": text(unique=True),
        "subject_id": text(unique=True),
        "pair": whole(),
        "role": text(checks=pa.Check.isin(["planted", "sham"])),
        "age": real(nullable=True),
        "sex": text(nullable=True),
        "space": text(checks=pa.Check.isin(["native", "template"])),
        "rms_mm": real(),
        "largest_change": real(),
    }
)
#: Whether each method detects the loss that was planted in half of the controls, one row by assignment and method.
#: `loss` describes it; `auc` is that of the network, planted against sham; AUPRC over regions, compared with networks
#: trained on shuffled labels of the same scans, and p corrected over the methods (`p_family`).
PLANTED_CONTROLS = schema(
    {
        "assignment": whole(),
        "method": text(),
        "n_pairs": whole(),
        "space": text(),
        "loss": text(),
        "auc": real(),
        "auc_low": real(nullable=True),
        "auc_high": real(nullable=True),
        "n_truth_regions": whole(),
        "region_auprc": real(nullable=True),
        "region_chance": real(nullable=True),
        "n_shuffled": whole(),
        "shuffled_low": real(nullable=True),
        "shuffled_high": real(nullable=True),
        "p": fraction(nullable=True),
        "p_family": fraction(nullable=True),
        "verdict": text(),
    },
    unique=["assignment", "method"],
)
