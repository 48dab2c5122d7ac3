"""Which scans a job registers: one scan per job, and above 10,000 scans batches that rarely change."""

from __future__ import annotations

import hashlib

#: Up to this number each scan is its own job, which a scheduler shows, repeats and records separately.
MOST_JOBS = 10_000
#: Scans per batch if the config does not set a number: of those that are registered, and of those that others have
#: registered, each of which takes a fraction of a second.
BATCH, TAKEN_BATCH = 100, 250


def divide_scans(scans, batch="auto", *, taken=False):
    """Divide scans into batches by the hash of their name.

    The number of batches is a power of two: it changes only when a cohort doubles, which splits each batch in two, and
    one additional scan changes one batch only.

    Parameters
    ----------
    scans : iterable of str, scan_id
    batch : int, approximate number of scans per batch; or "auto": no batches up to 10,000 scans, 100 scans each above
    taken : whether others have registered the scans; "auto" is then batches of 250 at most

    Returns
    -------
    dict, {batch number: its scans in the order of `scans`}, without empty batches; None means one job per scan

    Examples
    --------
    >>> divide_scans(["s1", "s2", "s3", "s4", "s5", "s6"], 2)
    {0: ['s5'], 1: ['s1', 's3', 's4'], 3: ['s2', 's6']}
    >>> divide_scans(["s1", "s2"]) is None
    True
    """
    scans = list(scans)
    if batch == "auto" and taken:
        batch = TAKEN_BATCH
    elif batch == "auto":
        if len(scans) <= MOST_JOBS:
            return None
        batch = BATCH
    n = 1
    while n * batch < len(scans):
        n *= 2
    batches = {}
    for scan in scans:
        number = int.from_bytes(hashlib.sha256(scan.encode()).digest()[-8:], "big") % n
        batches.setdefault(number, []).append(scan)
    return dict(sorted(batches.items()))
