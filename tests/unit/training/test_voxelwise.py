"""The voxelwise baseline, compared with a direct SVC on the stacked matrix of smoothed scans."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from voxelwhy.errors import InputError
from voxelwhy.io.text import listing
from voxelwhy.report.methods_text import methods_text
from voxelwhy.training import voxelwise
from voxelwhy.training.baseline import explain_baseline, make_baseline, predict_baseline
from voxelwhy.training.baseline_maps import BrainRegions
from voxelwhy.training.voxelwise import PENALTIES, SmoothedScans, choose_penalty, linear_kernels

BOTH = ["t1", "log_jacobian"]
MM = 8.0


@pytest.fixture
def cohort(small_cohort, tmp_path, rng, monkeypatch):
    """The small cohort with a log-Jacobian for each scan, its atlas, and a network mask; blocks of some 150 voxels."""
    brain, paths, folds = small_cohort
    rows = []
    for number, (scan, path) in enumerate(paths.items()):
        folder = tmp_path / "registered" / scan
        folder.mkdir(parents=True)
        nib.save(nib.load(path), folder / "t1.nii")
        change = rng.normal(0, 0.05, brain.shape) - 0.1 * (number % 2) * (np.indices(brain.shape)[2] > 10)
        nib.save(nib.Nifti1Image(change.astype(np.float32), brain.affine), folder / "log_jacobian.nii")
        rows.append({"scan_id": scan, "subject_id": scan.replace("scan", "subject"), "t1": folder / "t1.nii"})
    inside = np.asarray(brain.dataobj) > 0
    labels = np.where(inside, 1 + np.indices(brain.shape)[0] // 5, 0)
    seen = inside.copy()
    seen[:, :, 14:] = False
    monkeypatch.setattr(voxelwise, "BLOCK", 5000)
    return {
        "selected": pd.DataFrame(rows),
        "folds": folds,
        "mask": nib.Nifti1Image(seen.astype(np.uint8), brain.affine),
        "seen": seen,
        "regions": BrainRegions(inside, labels, [1, 2, 3, 4]),
        "subjects": pd.DataFrame({"age": np.nan, "sex": None}, index=[row["subject_id"] for row in rows]),
    }


def prepare(cohort, folder, channels=BOTH, mm=MM, kind="voxelwise"):
    how = {"kind": kind, "smoothing_mm": mm}
    options = {"channels": channels, "seed": 3, "folder": folder}
    return make_baseline(how, cohort["selected"], cohort["regions"], list("abcd"), cohort["mask"], **options)


def stacked(cohort, channels=BOTH, mm=MM):
    """All smoothed scans as one matrix (scans, channels, voxels), with scipy's filter."""
    seen, rows = cohort["seen"], []
    sigma = mm / np.sqrt(8 * np.log(2)) / 4  # voxels of 4 mm
    for path in cohort["selected"]["t1"]:
        row = []
        for channel in channels:
            values = np.where(seen, nib.load(path.with_name(f"{channel}.nii")).get_fdata(), 0)
            if channel == "t1":
                values = np.where(seen, (values - values[seen].mean()) / values[seen].std(), 0)
            row.append(gaussian_filter(values, sigma)[seen] if mm else values[seen])
        rows.append(row)
    return np.array(rows)


def of_fold(cohort, x, fold):
    """Training matrix, its labels and the test matrix of a fold, each channel with a mean square norm of 1."""
    folds, place = cohort["folds"], {scan: n for n, scan in enumerate(cohort["selected"]["scan_id"])}
    rows = folds[folds["fold"] == fold]
    known, tested = rows[rows["side"] != "test"], rows[rows["side"] == "test"].sort_values("scan_id")
    train, test = (x[[place[scan] for scan in part["scan_id"]]] for part in (known, tested))
    mean = train.mean(axis=0)
    norm = np.sqrt(((train - mean) ** 2).sum(axis=2).mean(axis=0))[:, None]
    train, test = ((part - mean) / norm for part in (train, test))
    return train.reshape(len(train), -1), (known["label"] == "AD").to_numpy(), test.reshape(len(test), -1)


@pytest.mark.parametrize("mm", [0, 8.0])
def test_scans_are_standardised_masked_and_smoothed(cohort, tmp_path, mm):
    options = {"channels": BOTH, "smoothing_mm": mm, "folder": tmp_path}
    smoothed = SmoothedScans(cohort["selected"], cohort["mask"], **options)
    expected = stacked(cohort, mm=mm)
    assert smoothed.shape == expected.shape
    blocks = list(smoothed.blocks(1))
    assert len(blocks) > 5
    found = np.concatenate([values for _, values in blocks], axis=2)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert [block.start for block, _ in blocks][1:] == [block.stop for block, _ in blocks][:-1]


def test_the_kernel_is_that_of_the_stacked_matrix_and_leaves_no_file(cohort, tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    options = {"channels": BOTH, "smoothing_mm": MM, "folder": folder}
    kernels = linear_kernels(SmoothedScans(cohort["selected"], cohort["mask"], **options))
    x = stacked(cohort)
    expected = np.einsum("icv,jcv->cij", x, x)
    for kernel, products in zip(kernels, expected, strict=True):
        np.testing.assert_allclose(kernel, products, atol=1e-6 * products.max())
    assert not list(folder.iterdir())


@pytest.mark.parametrize("channels", [["t1"], ["log_jacobian"], BOTH])
@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_predictions_are_those_of_a_direct_svm(cohort, classes, tmp_path, monkeypatch, channels, penalty):
    monkeypatch.setattr(voxelwise, "PENALTIES", (penalty,))
    found = predict_baseline(cohort["folds"], prepare(cohort, tmp_path, channels), classes=classes)
    x = stacked(cohort, channels)
    for fold in (0, 1):
        train, positive, test = of_fold(cohort, x, fold)
        direct = SVC(kernel="linear", C=penalty, tol=1e-6).fit(train, positive)
        margins = found.loc[found["fold"] == fold, "logit_positive"]
        np.testing.assert_allclose(margins, direct.decision_function(test), atol=1e-4)
    if channels == BOTH:
        assert roc_auc_score(found["label"] == "AD", found["logit_positive"]) == 1


@pytest.mark.parametrize("channels", [["t1"], BOTH])
def test_maps_are_those_of_the_direct_weights(cohort, classes, tmp_path, monkeypatch, channels):
    """coef_ and, for the pattern, the covariance of the stacked matrix; scaled, summed over channels, averaged."""
    monkeypatch.setattr(voxelwise, "PENALTIES", (1.0,))
    baseline = prepare(cohort, tmp_path, channels)
    options = {"classes": classes, "n_draws": 2}
    maps, relevance = explain_baseline(cohort["folds"], cohort["subjects"], baseline, **options)
    x, expected = stacked(cohort, channels), np.zeros((2, cohort["seen"].sum()))
    for fold in (0, 1):
        train, positive, _ = of_fold(cohort, x, fold)
        weights = SVC(kernel="linear", C=1, tol=1e-6).fit(train, positive).coef_[0]
        scores = train @ weights
        pattern = (train - train.mean(0)).T @ (scores - scores.mean()) / (len(scores) - 1) / scores.var(ddof=1)
        for total, values in zip(expected, (weights, pattern), strict=True):
            values = np.abs(values).reshape(len(channels), -1).sum(0)
            total += values / values.sum() / 2
    for name, values in zip(("weights", "pattern"), expected, strict=True):
        np.testing.assert_allclose(maps[name][cohort["seen"]], values, atol=1e-4 * values.max())
        assert not maps[name][~cohort["seen"]].any()
        regions = cohort["regions"]
        shares = np.array([maps[name][regions.labels == region].sum() for region in (1, 2, 3, 4)])
        sizes = np.array([(regions.labels == region).sum() for region in (1, 2, 3, 4)]) / regions.brain.sum()
        rows = relevance[(relevance["draw"] == 0) & (relevance["map"] == name)]
        np.testing.assert_allclose(rows["enrichment"], shares / sizes, rtol=1e-4)
    assert sorted(relevance["draw"].unique()) == [0, 1, 2]
    # The bright block of patients, of 4 x 4 x 4 voxels, is where the pattern lies.
    inside = np.zeros(cohort["seen"].shape, bool)
    inside[4:8, 4:8, 4:8] = True
    assert maps["pattern"][inside].mean() > 2 * maps["pattern"][cohort["seen"] & ~inside].mean()


def test_the_maps_are_the_same_bytes_each_time(cohort, classes, tmp_path):
    options = {"classes": classes, "n_draws": 1}
    found = [
        explain_baseline(cohort["folds"], cohort["subjects"], prepare(cohort, tmp_path), **options) for _ in range(2)
    ]
    for kind in ("weights", "pattern"):
        assert found[0][0][kind].tobytes() == found[1][0][kind].tobytes()
    pd.testing.assert_frame_equal(found[0][1], found[1][1], check_exact=True)


def test_scans_of_another_study_are_predicted_by_what_is_fitted_on_this_one(cohort, classes, tmp_path):
    """Half of the scans stand for the other study: the others alone decide what predicts them."""
    folds, known = cohort["folds"], cohort["folds"]["side"] != "test"
    own = folds[(folds["fold"] == 0) & known]
    other = folds[(folds["fold"] == 0) & ~known]
    found = predict_baseline(other, prepare(cohort, tmp_path, ["t1"]), classes=classes, fitted_on=own)
    expected = predict_baseline(folds[folds["fold"] == 0], prepare(cohort, tmp_path, ["t1"]), classes=classes)
    pd.testing.assert_frame_equal(found, expected)
    # Without the scans of the other study the fit is the same: what is left out has no part in the kernel.
    some = cohort | {"selected": cohort["selected"][cohort["selected"]["scan_id"].isin(own["scan_id"])]}
    fits = [prepare(which, tmp_path, ["t1"]).fit(own, (own["label"] == "AD").to_numpy()) for which in (cohort, some)]
    np.testing.assert_allclose(fits[0].dual, fits[1].dual, rtol=1e-6)


@pytest.mark.parametrize("kind", ["voxelwise", "linear_svm"])
def test_two_scans_of_one_name_are_refused(cohort, tmp_path, kind):
    cohort["selected"] = pd.concat([cohort["selected"], cohort["selected"].iloc[[3]]])
    with pytest.raises(InputError, match=r"the same name(.|\n)*scan03"):
        prepare(cohort, tmp_path, kind=kind)


def kernel_of(rng, n, signal):
    """Kernel of n scans, two of each subject, whose classes differ by `signal` in one of 40 features."""
    x = rng.normal(size=(n, 40))
    positive = np.arange(n) // 2 % 2 == 1
    x[:, 0] += signal * positive
    x -= x.mean(0)
    kernel = x @ x.T
    return kernel / np.trace(kernel) * n, positive, np.array([f"p{i // 2}" for i in range(n)])


def test_c_is_chosen_by_cross_validation_over_subjects(rng, monkeypatch):
    """Compared with a plain loop over the same folds: each subject is tested once, with both of its scans."""
    kernel, positive, subjects = kernel_of(rng, 60, 2.0)
    seen = []

    class Recorded(SVC):
        def fit(self, x, y, sample_weight=None):
            seen.append((self.C, len(y)))
            return super().fit(x, y, sample_weight)

    monkeypatch.setattr(voxelwise, "SVC", Recorded)
    chosen = choose_penalty(kernel, positive, subjects, seed=2)
    assert sorted(set(seen)) == [(C, 48) for C in PENALTIES] and len(seen) == 15
    monkeypatch.undo()
    people = pd.Series(positive).groupby(subjects).first()
    scores = {C: [] for C in PENALTIES}
    for _, test in StratifiedKFold(5, shuffle=True, random_state=2).split(people, people):
        tested = np.isin(subjects, people.index[test])
        for C in PENALTIES:
            model = SVC(C=C, kernel="precomputed").fit(kernel[~tested][:, ~tested], positive[~tested])
            scores[C].append(roc_auc_score(positive[tested], model.decision_function(kernel[tested][:, ~tested])))
    means = {C: np.mean(values) for C, values in scores.items()}
    assert chosen == max(means, key=means.get)
    assert len(set(means.values())) > 1


def test_the_methods_text_names_the_values_of_c():
    settings = {"evaluation": {"baseline": "voxelwise", "smoothing_mm": 10}}
    text = " ".join(methods_text(settings, simulated=False, n_subjects=2, n_scans=2))
    assert f"C was chosen among {listing(f'{penalty:g}' for penalty in PENALTIES)} by" in text


def test_a_class_of_one_subject_leaves_the_largest_c(rng):
    kernel, positive, subjects = kernel_of(rng, 12, 1.0)
    positive = subjects == "p1"
    assert choose_penalty(kernel, positive, subjects, seed=0) == max(PENALTIES)
