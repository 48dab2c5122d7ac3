"""The script context around every step: its log, plain error messages, and outputs that are complete or absent."""

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
#: Signals that end a job from outside, and what sends them.
SIGNALS = {
    signal.SIGTERM: "scancel, a time limit, a shutdown",
    signal.SIGINT: "Ctrl-C",
    signal.SIGHUP: "its terminal was closed",
}
_OURS = ".ours"  # a file that marks a hidden folder as made by this run

log = logging.getLogger(__name__)


@contextmanager
def door(snakemake):
    """Run the body of a script for the job `snakemake`; outputs are written to a hidden folder and moved at the end.

    Yields
    ------
    job : namespace
        `input`, `wildcards` and `threads` as Snakemake gives them, `settings` (the rule's one dict of settings), `code`
        (the digest of its code) and `output`, whose paths are temporary: they are moved to their places if the body
        succeeds, and deleted if it fails.
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
            _ignore_signals()  # from here on the outputs are complete: move them and finish
            outputs.publish()
        except BaseException as error:
            _ignore_signals()
            outputs.discard()  # first, because on a full disk this makes room for the log
            sys.exit(_tell(error, snakemake.rule, outputs))
    log.info("done: %s", _usage())
    _record_modules(snakemake)


def _usage():
    """Processor time and peak memory of this process and its children; the benchmark of Snakemake only samples them."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    scale = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    peak = max(own.ru_maxrss, children.ru_maxrss) * scale / 1e6
    return f"{seconds:.1f} s of processor time, {peak:.0f} MB of memory at most"


class _Stopped(BaseException):
    """A signal that ends the job; it is a BaseException, so that no `except Exception` catches it."""


@contextmanager
def _signals_as_exceptions():
    """Raise _Stopped for a signal of SIGNALS that would end the process silently, unless that signal is ignored."""

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
    """Log `error` in plain words; returns the exit status."""
    if isinstance(error, _Stopped):
        name = signal.Signals(error.args[0]).name.removeprefix("SIG")
        log.error("%s was stopped by signal %s (%s); to continue, %s", rule, name, SIGNALS[error.args[0]], AGAIN)
        return 128 + error.args[0]
    if isinstance(error, VoxelwhyError):
        log.error("%s", error)
    elif outputs.swept:
        log.error("%s", _swept(outputs))
    elif told := explain(error, outputs.folder):
        log.error("%s", told)
    else:
        log.info("traceback of the unexpected error", exc_info=error)
        words = "%s failed with an unexpected error (%s: %s); please report it together with this log"
        log.error(words, rule, type(error).__name__, error)
    return 1


def _swept(outputs):
    return InputError(
        "the hidden folder for unfinished outputs vanished while the job ran",
        file=outputs.folder,
        hint="nothing if the same study has been started again: that run removed the folder and makes these outputs "
        f"itself; otherwise {AGAIN}",
    )


class _Outputs:
    """Temporary paths with the names and order of a job's outputs.

    They lie in a hidden folder next to their places, under their final names, because libraries choose the format by
    the name and some store it. The name of the folder begins with a part that depends only on the job, so that a job
    removes what a killed predecessor left, and ends with a part unique to this run. A predecessor that still runs after
    its controller died therefore misses its own folder and cannot move what its successor is writing.
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
        """Output names with their paths without suffix, for figures and tables that are written in several formats."""
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
                # Move the old folder aside first, so that it can be restored if the second move fails.
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
        """Whether the hidden folders are those that this run made; a library may have recreated a removed one."""
        return all((folder / _OURS).exists() for folder in self._folders)


def _take_away(left, hidden):
    """Remove a predecessor's folder, moving it first, so that a process still writing into it fails at once."""
    try:
        os.replace(left, hidden / left.name)
    except OSError:  # another job was faster, or the folder comes from an older version and cannot be moved
        shutil.rmtree(left, ignore_errors=True)
    else:
        shutil.rmtree(hidden / left.name, ignore_errors=True)


def _require_own_checkout(scripts):
    """Refuse a copy of the package from elsewhere: Snakemake appends to sys.path, so an installed copy would win."""
    here, there = Path(scripts).resolve(), Path(voxelwhy.__file__).resolve().parents[1]
    if here != there:
        raise VoxelwhyError(
            f"the package voxelwhy comes from {there}, not from this checkout ({here})\n"
            f"  to do:   run pip uninstall voxelwhy, or start with PYTHONPATH={here}"
        )


def _record_modules(snakemake):
    """Record which modules of the package this job loaded, if a test requests it."""
    if folder := os.environ.get(RECORD):
        loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "voxelwhy")
        named = dict(snakemake.params.get("code") or {})
        text = json.dumps({"rule": snakemake.rule, "loaded": loaded, "named": sorted(named)})
        Path(folder, f"{snakemake.rule}-{os.getpid()}.json").write_text(text)
