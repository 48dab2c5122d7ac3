"""The door of every script: whole outputs or none, errors for people, the right checkout."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import voxelwhy
from voxelwhy.doors import door
from voxelwhy.errors import InputError

SCRIPTS = Path(voxelwhy.__file__).parents[1]


class Named(list):
    """The part of Snakemake's named lists that the door uses."""

    def __init__(self, **items):
        super().__init__(items.values())
        self._items = items

    def items(self):
        return self._items.items()


def job(tmp_path, scripts=SCRIPTS):
    return SimpleNamespace(
        rule="a_rule",
        input=Named(),
        output=Named(table=str(tmp_path / "table.tsv"), maps=str(tmp_path / "maps")),
        params={"settings": {"a": 1}, "code": {"x.py": "0"}},
        log=[str(tmp_path / "log.txt")],
        wildcards=None,
        threads=1,
        scriptdir=str(scripts),
    )


def write(outputs):
    Path(outputs.table).write_text("new")
    Path(outputs.maps).mkdir()
    Path(outputs.maps, "a.txt").write_text("new")


def test_outputs_appear_at_the_end_and_replace_old_ones(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old.txt").write_text("old")
    with door(job(tmp_path)) as opened:
        write(opened.output)
        assert not (tmp_path / "table.tsv").exists()
        assert opened.settings == {"a": 1}
    assert (tmp_path / "table.tsv").read_text() == "new"
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["a.txt"]
    assert not list(tmp_path.glob(".partial*"))


def test_an_error_for_people_leaves_nothing_behind(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, door(job(tmp_path)) as opened:
        write(opened.output)
        raise InputError("no such diagnosis", file="a.csv", row=7, column="DX", found="XX", allowed=["CN", "AD"])
    assert stop.value.code == 1
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "file a.csv, row 7, column DX" in text
        assert "'XX'" in text
        assert "Traceback" not in text


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path):
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        write(opened.output)
        raise ZeroDivisionError("a fault of ours")
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    assert "ZeroDivisionError: a fault of ours" in (tmp_path / "log.txt").read_text()


def test_an_output_that_was_not_written_is_a_fault(tmp_path):
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        Path(opened.output[0]).write_text("only one of two")
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    assert "not written" in (tmp_path / "log.txt").read_text()


def test_what_a_killed_job_left_is_swept_away(tmp_path):
    with door(job(tmp_path)) as opened:
        left = Path(opened.output.maps, "half.txt")
        write(opened.output)
    left.parent.mkdir(parents=True)
    left.write_text("half")
    with door(job(tmp_path)) as opened:
        write(opened.output)
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["a.txt"]
    assert not list(tmp_path.glob(".partial*"))


def test_a_package_from_elsewhere_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit), door(job(tmp_path, scripts=tmp_path)):
        pass
    assert "not from this checkout" in capsys.readouterr().err
