"""Logging of a job: everything into the rule's log file, progress lines included."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(message)s"


def start_log(path):
    """Send the log records of this process to `path` (replaced) and warnings to stderr as well."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in list(root.handlers):
        root.removeHandler(handler)
    if path:
        to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
        to_file.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
        root.addHandler(to_file)
    to_person = logging.StreamHandler(sys.stderr)
    to_person.setLevel(logging.ERROR)
    to_person.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(to_person)
    logging.captureWarnings(True)
