"""Logging of a job: all records, including progress lines, go to the log file of its rule."""

from __future__ import annotations

import faulthandler
import logging
import sys
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(message)s"


def start_log(path):
    """Send the log records of this process to `path`, which is replaced, and errors to stderr as well."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in list(root.handlers):
        root.removeHandler(handler)
    if path:
        # A new file: a predecessor that still runs after its controller died keeps writing to the file that it opened.
        Path(path).unlink(missing_ok=True)
        to_file = _LogFile(path, mode="w", encoding="utf-8")
        if not faulthandler.is_enabled():
            faulthandler.enable(to_file.stream)  # a crash of native code leaves a traceback
        to_file.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
        root.addHandler(to_file)
    to_person = logging.StreamHandler(sys.stderr)
    to_person.setLevel(logging.ERROR)
    to_person.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(to_person)
    logging.captureWarnings(True)


def event_of(record):
    """The name of a Snakemake log event, or None for an ordinary message."""
    event = getattr(record, "event", None)
    return None if event is None else str(event)


def last_lines(path, n):
    """The last `n` non-blank lines of a text file; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 300 * n))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-n:]


class _LogFile(logging.FileHandler):
    """A log that drops lines on a full disk without an error of its own; the full disk is reported elsewhere."""

    def handleError(self, record):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
