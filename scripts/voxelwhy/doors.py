"""The door of every script: log, errors for people, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import voxelwhy
from voxelwhy.errors import VoxelwhyError
from voxelwhy.logs import start_log

RECORD = "VOXELWHY_RECORD_MODULES"

log = logging.getLogger(__name__)


@contextmanager
def door(snakemake):
    """Run a script's body for the job `snakemake`; outputs are written beside their place and renamed at the end.

    Yields
    ------
    job : namespace
        `input`, `wildcards` and `threads` as Snakemake gives them, `settings` (the rule's one dict of settings), `code`
        (the digest of its code) and `output`, whose paths are temporary: they move to their places when the body ends
        well, and vanish when it does not.
    """
    try:
        start_log(snakemake.log[0] if snakemake.log else None)
        outputs = _Outputs(snakemake.output, snakemake.rule)
    except OSError as error:
        sys.exit(f"the results folder cannot be written: {error}")
    try:
        _require_own_checkout(snakemake.scriptdir)
        yield SimpleNamespace(
            input=snakemake.input,
            output=outputs,
            settings=snakemake.params.get("settings"),
            code=snakemake.params.get("code"),
            wildcards=snakemake.wildcards,
            threads=snakemake.threads,
        )
        outputs.publish()
    except VoxelwhyError as error:
        outputs.discard()
        log.error("%s", error)
        sys.exit(1)
    except BaseException:
        outputs.discard()
        log.exception("%s stopped on something that nobody foresaw; please report it with this log", snakemake.rule)
        sys.exit(1)
    _record_modules(snakemake)


class _Outputs:
    """Temporary paths with the names and order of a job's outputs.

    They lie in a hidden folder beside their places, under their own names: libraries choose the format by the name,
    and some write it down. The folder's name follows from the job, so that a job sweeps up what its killed predecessor
    left.
    """

    def __init__(self, output, rule):
        key = hashlib.sha256("\n".join(output).encode()).hexdigest()[:8]
        self._hidden, self._places = f".partial.{rule}.{key}", {}
        for folder in {Path(place).parent for place in output}:
            _remove(folder / self._hidden)
            (folder / self._hidden).mkdir(parents=True)
        self._list = [self._beside(value) for value in output]
        self._named = {}
        for name, value in output.items():
            self._named[name] = self._beside(value) if isinstance(value, str) else [self._beside(v) for v in value]
            setattr(self, name, self._named[name])

    def __getitem__(self, index):
        return self._list[index]

    def stems(self):
        """Names of outputs and their paths without ending, for figures and tables that come in several formats."""
        return {name: Path(files[0]).with_suffix("") for name, files in self._named.items()}

    def _beside(self, place):
        place = Path(place)
        temporary = place.parent / self._hidden / place.name
        self._places[temporary] = place
        return str(temporary)

    def publish(self):
        missing = [str(place) for temporary, place in self._places.items() if not temporary.exists()]
        if missing:
            raise RuntimeError(f"not written: {', '.join(missing)}")
        for temporary, place in self._places.items():
            if place.is_dir():
                _remove(place)
            os.replace(temporary, place)
        self.discard()

    def discard(self):
        for temporary in self._places:
            _remove(temporary.parent)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _require_own_checkout(scripts):
    """Refuse a copy of the package from elsewhere: Snakemake appends to sys.path, so an installed one would win."""
    here, there = Path(scripts).resolve(), Path(voxelwhy.__file__).resolve().parents[1]
    if here != there:
        raise VoxelwhyError(
            f"the package voxelwhy comes from {there}, not from this checkout ({here})\n"
            f"  to do:   pip uninstall voxelwhy, or start with PYTHONPATH={here}"
        )


def _record_modules(snakemake):
    """Write down which modules of the package this job loaded, where a test asks for it."""
    if folder := os.environ.get(RECORD):
        loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "voxelwhy")
        named = dict(snakemake.params.get("code") or {})
        text = json.dumps({"rule": snakemake.rule, "loaded": loaded, "named": sorted(named)})
        Path(folder, f"{snakemake.rule}-{os.getpid()}.json").write_text(text)
