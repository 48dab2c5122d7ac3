"""Takes a cluster down when the process that brought it up ends, however that ends.

    python guard.py FOLDER    the cluster's folder; ends when its standard input does

Whoever started it holds the other end of that pipe: it closes when they let go, are interrupted or are killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def processes_of(folder):
    """Ids of the processes that belong to a cluster: its folder is in their command or environment."""
    mark, found = os.fsencode(str(folder)), []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            text = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is none of ours
        if mark in text and b"guard.py" not in text:
            found.append(int(process.name))
    return found


def take_down(folder, seconds=30):
    """End the processes of a cluster and remove its folder."""
    until = time.monotonic() + seconds
    # Daemons start processes while they are being ended, so until none is left.
    while (found := processes_of(folder)) and time.monotonic() < until:
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.stdin.read()
    take_down(sys.argv[1])
