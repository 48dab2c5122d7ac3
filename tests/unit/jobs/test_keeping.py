"""What a study that keeps its results only removes, and what it must leave."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from voxelwhy.errors import InputError
from voxelwhy.jobs.keeping import drop_images
from voxelwhy.training.volumes import registered_paths


def place(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def study(tmp_path):
    """Two registered scans: one in the store and in another study as well, one in the store alone."""
    images = [place(tmp_path / "mine" / name / "t1.nii", "x" * 1000) for name in ("a", "b")]
    for number, image in enumerate(images):
        place(image.with_name("quality.json"), "{}")
        entry = tmp_path / "store" / "00" / f"key{number}"
        entry.mkdir(parents=True)
        os.link(image, entry / "t1.nii")
    (tmp_path / "theirs").mkdir()
    os.link(images[0], tmp_path / "theirs" / "t1.nii")
    return tmp_path, images


def test_images_go_and_the_rest_stays(study):
    folder, images = study
    found = drop_images(images, store=str(folder / "store"))
    assert found == {"images": 2, "megabytes": 0.002}
    assert sorted(path.name for path in (folder / "mine").rglob("*") if path.is_file()) == ["quality.json"] * 2
    assert (folder / "theirs" / "t1.nii").read_text() == "x" * 1000
    # What another study uses stays in the store; what nobody uses goes.
    assert [path.parent.name for path in (folder / "store").rglob("t1.nii")] == ["key0"]
    assert not (folder / "store" / "00" / "key1").exists()


def test_a_second_time_and_without_a_store_nothing_is_left_to_do(study):
    folder, images = study
    drop_images(images)
    assert len(list((folder / "store").rglob("t1.nii"))) == 2
    assert drop_images(images, store=str(folder / "nowhere")) == {"images": 0, "megabytes": 0.0}


def test_a_step_that_needs_a_removed_image_says_what_to_do(study):
    _, images = study
    selected = pd.DataFrame({"scan_id": ["a", "b"], "t1": list(map(str, images))})
    assert registered_paths(selected) == {"a": str(images[0]), "b": str(images[1])}
    images[1].unlink()
    told = r"1 of 2 registered images no longer exist[\s\S]*mine/b/t1.nii[\s\S]*--forcerun"
    with pytest.raises(InputError, match=told):
        registered_paths(selected)
