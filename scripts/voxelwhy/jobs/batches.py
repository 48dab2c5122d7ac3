"""Which scans a job registers: one job a scan, and beyond 10,000 scans batches that rarely change."""

from __future__ import annotations

import hashlib

#: Up to here each scan is a job of its own, which a scheduler shows, repeats and records by itself.
MOST_JOBS = 10_000
#: Scans of a batch where the config names no number.
BATCH = 100


def divide_scans(scans, batch="auto"):
    """Divide scans into batches by the hash of their name.

    The number of batches is a power of two, so that it changes only where a cohort doubles, and then cuts each batch in
    two; one scan more changes one batch.

    Parameters
    ----------
    scans : iterable of str, scan_id
    batch : int, about how many scans a batch has; or "auto": no batches up to 10,000 scans, beyond 100 scans each

    Returns
    -------
    dict, number of a batch to its scans in the order of `scans`, without empty ones; or None: one job a scan

    Examples
    --------
    >>> divide_scans(["s1", "s2", "s3", "s4", "s5", "s6"], 2)
    {0: ['s5'], 1: ['s1', 's3', 's4'], 3: ['s2', 's6']}
    >>> divide_scans(["s1", "s2"]) is None
    True
    """
    scans = list(scans)
    if batch == "auto":
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
