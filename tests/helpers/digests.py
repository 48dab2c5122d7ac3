"""Which modules a job loads, compared with those that the digest of its code names."""

from __future__ import annotations

from helpers.paths import SCRIPTS
from voxelwhy.jobs.code_digest import SILENT, WORDS

PACKAGES = {".".join(path.parent.relative_to(SCRIPTS).parts) for path in (SCRIPTS / "voxelwhy").rglob("__init__.py")}


def counted(modules):
    """The modules of the package among those, without the ones that a digest need not name."""
    return {name for name in modules if name.startswith("voxelwhy.")} - PACKAGES - SILENT - WORDS


def assert_named(job):
    """A job has loaded exactly the modules that its digest names."""
    assert counted(job["loaded"]) == counted(job["named"]), job["rule"]
