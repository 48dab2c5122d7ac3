"""The digest of a rule's code: what counts, what does not."""

import shutil

import pytest

from helpers.paths import SCRIPTS
from voxelwhy.jobs import code_digest as subject
from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.registry import METHODS


@pytest.fixture
def fresh():
    """No hash remembered from another test."""
    subject._hash.cache_clear()
    yield
    subject._hash.cache_clear()


def hash_of(tmp_path, text):
    path = tmp_path / f"m{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text)
    return subject._hash(path)


def test_comments_docstrings_and_blank_lines_do_not_count(tmp_path, fresh):
    plain = "def f(x):\n    return x + 1\n"
    told = '"""Module."""\n\n# why\ndef f(x):\n    """Adds one."""\n\n    return x + 1  # so\n'
    assert hash_of(tmp_path, plain) == hash_of(tmp_path, told)
    assert hash_of(tmp_path, plain) != hash_of(tmp_path, plain.replace("+ 1", "+ 2"))


def test_a_string_that_is_no_docstring_counts(tmp_path, fresh):
    assert hash_of(tmp_path, "a = 'x'\n") != hash_of(tmp_path, "a = 'y'\n")


def test_a_method_brings_itself_and_not_the_others():
    digest = code_digest(SCRIPTS / "compute_heatmaps.py", [METHODS["grad_cam"]])
    assert "voxelwhy.explain.grad_cam" in digest
    assert "voxelwhy.explain.occlusion" not in digest
    assert "voxelwhy.heatmaps.explain_scans" in digest
    assert "voxelwhy.training.loop" not in digest
    assert not any(name.startswith("voxelwhy.report.figures") for name in digest)


def test_messages_and_tables_of_names_do_not_count():
    digest = code_digest(SCRIPTS / "train_fold.py")
    assert "voxelwhy.training.loop" in digest
    assert not {"voxelwhy.errors", "voxelwhy.jobs.logs", "voxelwhy.registry", "voxelwhy", "voxelwhy.networks"} & set(
        digest
    )


@pytest.mark.parametrize(
    "script", ["parse_tables.py", "register_scan.py", "select_scans.py", "train_fold.py", "explain_shuffled.py"]
)
def test_new_words_in_a_figure_train_nothing_again(script):
    digest = code_digest(SCRIPTS / script)
    assert not any(name.startswith("voxelwhy.report") for name in digest)
    assert "voxelwhy.io.text" not in digest


def test_words_count_for_what_people_read():
    assert "voxelwhy.io.text" in code_digest(SCRIPTS / "summarise.py")
    assert "voxelwhy.io.text" in code_digest(SCRIPTS / "draw_regions.py")


def test_a_changed_module_changes_the_digests_that_name_it(tmp_path, fresh):
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    before = {s: code_digest(tmp_path / "scripts" / s) for s in ("train_fold.py", "split_folds.py")}
    module = tmp_path / "scripts" / "voxelwhy" / "training" / "volumes.py"
    module.write_text(module.read_text() + "\nEXTRA = 1\n")
    subject._hash.cache_clear()
    after = {s: code_digest(tmp_path / "scripts" / s) for s in before}
    assert before["train_fold.py"] != after["train_fold.py"]
    assert before["split_folds.py"] == after["split_folds.py"]
