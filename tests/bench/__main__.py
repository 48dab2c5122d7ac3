"""`python -m bench [--rows NAME,NAME] [--full]`: measure, print, keep; see docs/explaining/speed.md."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

from bench import table
from bench.results import Different, save
from bench.rows import ONLY_WHEN_ASKED, ROWS


def main():
    """Measure the rows asked for; 1 if two ways to one map differ."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", default="", help=f"names, with commas between them: {', '.join(ROWS)}")
    parser.add_argument("--full", action="store_true", help="run peers on all of their windows (hours)")
    options = parser.parse_args()
    names = [name for name in options.rows.replace(",", " ").split() if name]
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    warnings.simplefilter("ignore")  # those of peers, about themselves
    names = names or [name for name in ROWS if options.full or name not in ONLY_WHEN_ASKED]
    faults = [name for name in names if not _measured(name, options.full)]
    _write_page()
    return 1 if faults else 0


def _measured(name, full):
    before = os.getloadavg()[0]
    print(f"{name} …", flush=True)
    try:
        lines = ROWS[name](full=full)
    except Different as error:
        print(f"  NOT THE SAME: {error}", flush=True)
        return False
    save(name, lines, [before, os.getloadavg()[0]])
    for line in table.read()[name]["lines"]:
        print("  " + " | ".join(map(str, table.CELLS[line["table"]](line))), flush=True)
    return True


def _write_page():
    found = table.read()
    problems = table.missing(found)
    if problems:
        print(f"{table.PAGE.name} is left as it is: {'; '.join(problems)}")
        return
    table.PAGE.write_text(table.page(found), encoding="utf-8")
    print(f"wrote {table.PAGE}")


if __name__ == "__main__":
    sys.exit(main())
