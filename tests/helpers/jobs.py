"""A job as Snakemake hands it to a script."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from helpers.paths import SCRIPTS


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


def write(outputs, text="new"):
    Path(outputs.table).write_text(text)
    Path(outputs.maps).mkdir()
    Path(outputs.maps, "a.txt").write_text(text)
