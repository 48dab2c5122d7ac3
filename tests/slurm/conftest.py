"""One cluster for all tests, and on it, at the same time, one study from start to end and disturbed ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from slurm import faults
from slurm.cluster import Cluster
from slurm.packages import Unavailable
from slurm.studies import COMPARED_CONFIG, CONFIG, ClusterStudy, Study


@pytest.fixture(scope="session")
def cluster():
    running = Cluster()
    try:
        running.__enter__()
    except Unavailable as reason:
        pytest.skip(f"no SLURM here: {reason}")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def started(cluster, request, tmp_path_factory):
    """Everything that takes long, started at once, because most of it waits for the scheduler.

    The study on the cluster starts first. Beside it the same study is run without a cluster; that one is what the
    others are held against and where the disturbed ones set out from.
    """
    faulty = [item for item in request.session.items if item.path.stem == "test_cluster_faults"]
    names = sorted({item.originalname.removeprefix("test_") for item in faulty})
    whole = ClusterStudy(tmp_path_factory.mktemp("whole"), cluster)
    whole.start()
    compared = ClusterStudy(tmp_path_factory.mktemp("compared"), cluster, COMPARED_CONFIG)
    compared.start()
    here = Study(tmp_path_factory.mktemp("here"), CONFIG)
    pool = ThreadPoolExecutor(max_workers=8)
    try:
        here.run()
        copies = {name: ClusterStudy.copy_of(here, tmp_path_factory.mktemp(name), cluster) for name in names}
        # A node that is away disturbs every job that starts meanwhile, so that one comes last and by itself.
        disturbed = {name: pool.submit(getattr(faults, name), copies[name]) for name in names if name != "node_killed"}
        yield SimpleNamespace(here=here, whole=whole, compared=compared, copies=copies, disturbed=disturbed)
    finally:
        ClusterStudy.stop_all()
        pool.shutdown()


@pytest.fixture(scope="session")
def here(started):
    """The study as it comes out without a cluster."""
    return started.here


@pytest.fixture(scope="session")
def whole(started):
    """The study as the cluster made it."""
    started.whole.printed = started.whole.finish()
    return started.whole
