"""Pages in a real browser: Debian's Chromium, headless and offline, driven by playwright."""

from __future__ import annotations

import atexit
import shutil
from contextlib import contextmanager
from functools import cache

import pytest

#: Draws WebGL in software, so that it needs no graphics card and draws the same pixels everywhere.
SOFTWARE = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
NO_WEBGL = ("--no-sandbox", "--disable-3d-apis")
NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT = 120_000  # ms; drawing in software is slow on a busy machine


def find_chromium():
    """The path of a Chromium; the test is skipped where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return path


@cache
def driver():
    """Playwright, started once: it allows one for each thread, for as long as any page of it is open."""
    from playwright.sync_api import sync_playwright

    started = sync_playwright().start()
    atexit.register(started.stop)
    return started


@contextmanager
def open_page(path, arguments=SOFTWARE, **context):
    """Open a page by file:// without network; yields it with what went wrong and which addresses it asked for.

    Yields
    ------
    page : playwright's page, with the lists `faults` (errors, also those of the console) and `asked` (addresses)
    """
    chromium = find_chromium()
    browser = driver().chromium.launch(executable_path=chromium, args=list(arguments))
    try:
        page = browser.new_context(offline=True, **context).new_page()
        page.set_default_timeout(WAIT)
        page.faults, page.asked = [], []
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(f"file://{path}")
        yield page
    finally:
        browser.close()
