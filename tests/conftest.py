"""Small images, tables and networks that several test files use."""

from __future__ import annotations

import logging
import os
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from voxelwhy import registry

# Tests run side by side, so that a second thread would only wait for a core, and waiting threads spin. It is set before
# torch is imported, and holds for what tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLASSES = {"positive": "AD", "negative": "CN"}


@pytest.fixture(autouse=True)
def logging_as_before():
    """A script's door sets the root logger up for its job; the next test finds it as it was."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def classes():
    return dict(CLASSES)


@pytest.fixture
def rng():
    return np.random.default_rng(20181)


@pytest.fixture
def small_cohort(tmp_path, rng):
    """16 scans of 8 subjects a class on a 20³ grid of 4 mm; a bright block marks AD. (mask, paths, folds table)."""
    affine = np.diag([4.0, 4, 4, 1])
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[1:19, 2:19, 1:18] = 1
    mask[1:6, 2:7, 1:6] = 0
    rows, paths = [], {}
    for number in range(16):
        label = "AD" if number % 2 else "CN"
        data = rng.normal(100, 5, mask.shape)
        data[4:8, 4:8, 4:8] += 40 if label == "AD" else 0
        step = 0.01
        image = nib.Nifti1Image(np.rint(data / step).astype(np.int16), affine)
        image.header.set_slope_inter(step, 0)
        path = tmp_path / f"scan{number:02d}.nii"
        nib.save(image, path)
        paths[f"scan{number:02d}"] = str(path)
        for fold in range(2):
            side = "test" if number // 2 % 4 == fold else ("validation" if number // 2 % 4 == 3 else "train")
            rows.append((fold, side, f"scan{number:02d}", f"subject{number:02d}", label))
    folds = pd.DataFrame(rows, columns=["fold", "side", "scan_id", "subject_id", "label"])
    return nib.Nifti1Image(mask, affine), paths, folds


def _build_tiny(spatial_shape, *, dropout=0.0):
    from torch import nn  # here, because most test files need no torch

    cells = int(np.prod([(length - 2) // 4 for length in spatial_shape]))
    return nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.ELU(), nn.MaxPool3d(4), nn.Flatten(), nn.Dropout(dropout), nn.Linear(3 * cells, 1)
    )


@pytest.fixture
def tiny_one_logit(monkeypatch):
    """The name of a network with one logit that trains in no time, in the registry for as long as the test runs."""
    monkeypatch.setitem(sys.modules, "tests_tiny_one_logit", SimpleNamespace(build=_build_tiny))
    monkeypatch.setitem(registry.NETWORKS, "tiny_one_logit", "tests_tiny_one_logit")
    return "tiny_one_logit"


@pytest.fixture(scope="session")
def images_6mm(tmp_path_factory):
    """A folder with template.nii.gz and mask.nii.gz at 6 mm, where a rigid registration takes a quarter of a second."""
    from helpers.templates import template_on  # here, because most test files need no nilearn

    folder = tmp_path_factory.mktemp("images_6mm")
    for image, name in zip(template_on(6), ("template", "mask"), strict=True):
        nib.save(image, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def ants_runs(monkeypatch):
    """A list that grows by one with each run of ANTs."""
    import ants

    runs, registration = [], ants.registration

    def counted(*arguments):
        runs.append(1)
        return registration(*arguments)

    monkeypatch.setattr("voxelwhy.registration.ants.ants.registration", counted)
    return runs
