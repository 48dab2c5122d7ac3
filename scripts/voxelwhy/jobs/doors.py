"""The door of every script: log, errors for people, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import secrets
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import voxelwhy
from voxelwhy.errors import AGAIN, InputError, VoxelwhyError, explain
from voxelwhy.jobs.logs import start_log

RECORD = "VOXELWHY_RECORD_MODULES"
#: What ends a job from outside, and who sends it.
SIGNALS = {
    signal.SIGTERM: "scancel, a time limit, a shutdown",
    signal.SIGINT: "Ctrl-C",
    signal.SIGHUP: "its terminal was closed",
}
_OURS = ".ours"  # a file that only the run which made a hidden folder puts there

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
        folder = Path(snakemake.output[0]).parent
        log.error("%s", explain(error, folder) or f"{folder} cannot be written: {error}")
        sys.exit(1)
    with _signals_as_exceptions():
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
            _ignore_signals()  # what is whole is moved to its place, and the job is done
            outputs.publish()
        except BaseException as error:
            _ignore_signals()
            outputs.discard()  # first of all: on a full disk this makes room for the log
            sys.exit(_tell(error, snakemake.rule, outputs))
    log.info("done: %s", _usage())
    _record_modules(snakemake)


def _usage():
    """What this process and its children took, to the end; Snakemake's benchmark looks every half minute only."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = max(own.ru_maxrss, children.ru_maxrss) * scale / 1e6
    return f"{seconds:.1f} s of processor time, {peak:.0f} MB of memory at most"


class _Stopped(BaseException):
    """A signal that ends the job; no `except Exception` on the way swallows it."""


@contextmanager
def _signals_as_exceptions():
    """Raise _Stopped where a signal of SIGNALS would end the process without a word; not where it is ignored."""

    def stop(number, frame):
        _ignore_signals()
        raise _Stopped(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def _ignore_signals():
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _tell(error, rule, outputs):
    """Log what people are to know of `error`; returns the exit status."""
    if isinstance(error, _Stopped):
        name = signal.Signals(error.args[0]).name.removeprefix("SIG")
        log.error("%s was stopped by signal %s (%s); to go on, %s", rule, name, SIGNALS[error.args[0]], AGAIN)
        return 128 + error.args[0]
    if isinstance(error, VoxelwhyError):
        log.error("%s", error)
    elif outputs.swept:
        log.error("%s", _swept(outputs))
    elif told := explain(error, outputs.folder):
        log.error("%s", told)
    else:
        log.info("where it stopped", exc_info=error)
        words = "%s stopped on something that nobody foresaw (%s: %s); please report it with this log"
        log.error(words, rule, type(error).__name__, error)
    return 1


def _swept(outputs):
    return InputError(
        "the hidden folder of outputs that are being written vanished while the job ran",
        file=outputs.folder,
        hint="nothing, if the same study was started again meanwhile: that run took it away and makes these outputs "
        f"itself; else {AGAIN}",
    )


class _Outputs:
    """Temporary paths with the names and order of a job's outputs.

    They lie in a hidden folder beside their places, under their own names: libraries choose the format by the name,
    and some write it down. The folder's name begins with what follows from the job, so that a job sweeps up what its
    killed predecessor left, and ends with what is this run's alone: a predecessor that is not dead, only its
    controller is, finds its own folder gone and cannot move what its successor is writing.
    """

    def __init__(self, output, rule):
        key = hashlib.sha256("\n".join(output).encode()).hexdigest()[:8]
        self._places, self._folders = {}, []
        self.folder, self.swept = Path(output[0]).parent, False
        self._hidden = f".partial.{rule}.{key}.{secrets.token_hex(4)}"
        for folder in dict.fromkeys(Path(place).parent for place in output):
            hidden = folder / self._hidden
            hidden.mkdir(parents=True)
            (hidden / _OURS).touch()
            self._folders.append(hidden)
            for left in folder.glob(f".partial.{rule}.{key}*"):
                if left.name != self._hidden:
                    _take_away(left, hidden)
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
        if not self._are_ours():
            raise FileNotFoundError(self._hidden)
        missing = [str(place) for temporary, place in self._places.items() if not temporary.exists()]
        if missing:
            raise RuntimeError(f"not written: {', '.join(missing)}")
        for temporary, place in self._places.items():
            if place.is_dir() and not place.is_symlink():
                # Aside and not away: where the second move fails, what was there stays.
                aside = temporary.with_name(f".old.{place.name}")
                os.replace(place, aside)
                try:
                    os.replace(temporary, place)
                except OSError:
                    os.replace(aside, place)
                    raise
            else:
                os.replace(temporary, place)
        self.discard()

    def discard(self):
        self.swept = not self._are_ours()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _are_ours(self):
        """Whether the hidden folders are still those that this run made: a library may make a swept one again."""
        return all((folder / _OURS).exists() for folder in self._folders)


def _take_away(left, hidden):
    """Sweep up a predecessor's folder: first by one move, so that whoever still writes in it fails at once."""
    try:
        os.replace(left, hidden / left.name)
    except OSError:  # somebody else was faster, or it is one of an older version that cannot be moved
        shutil.rmtree(left, ignore_errors=True)
    else:
        shutil.rmtree(hidden / left.name, ignore_errors=True)


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
