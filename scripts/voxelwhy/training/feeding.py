"""The scans of a fold, in batches that are read and normalised ahead of the steps that use them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from voxelwhy.errors import InputError
from voxelwhy.networks.layers import takes_lone_scan
from voxelwhy.training.volumes import Normaliser

#: Normalised scans stay in memory if all scans of a fold take at most this much, MB.
KEPT_MB = 256
#: Batches that are prepared in advance for each thread that reads.
AHEAD = 2


@dataclass
class FoldData:
    """The data of one fold: the volumes, their class (0 or 1), the scans of each side, and their names."""

    volumes: object
    targets: np.ndarray
    sides: dict
    normaliser: Normaliser
    scan_ids: list
    _kept: dict = field(default_factory=dict)

    def batch(self, indices):
        """Return normalised scans as (n, channels, x, y, z) float32, and their classes."""
        scans = [self._scan(int(i)) for i in indices]
        return torch.from_numpy(np.stack(scans)), torch.from_numpy(self.targets[indices])

    def _scan(self, index):
        if (scan := self._kept.get(index)) is None:
            scan = self.normaliser(self.volumes[index], self.volumes.mask)
            if scan.nbytes * len(self.volumes) <= KEPT_MB * 1e6:
                self._kept[index] = scan
        return scan


def batches(model, data, order, size):
    """Divide the scans of an epoch, `order`, into batches of `size`; the last batch may be smaller.

    A single last scan joins the previous batch if the network cannot be trained on it alone, because batch
    normalisation would see a single value (a deep network on a coarse grid).

    Raises
    ------
    InputError : there is no batch that it could join.
    """
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts[-1]) == 1 and not takes_lone_scan(model, data.batch(parts[-1])[0].shape):
        if size == 1 or len(parts) == 1:
            raise InputError(
                "this network cannot be trained on one scan at a time: its batch normalisation would see one value",
                found=f"training.batch_size {size}, {len(order)} training scans",
                allowed="batches of two scans or more, or a finer grid",
            )
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def read_ahead(parts, read, *, readers=1, pinned=False):
    """Yield each part with what `read(part)` returns for it, in their order, while later parts are being read.

    Threads suffice, because reading and normalising a scan happens in numpy, which lets other threads run meanwhile.

    Parameters
    ----------
    parts : sequence
    read : callable that returns a tensor; it must not use torch's global random numbers, which belong to the training
    readers : int, number of threads
    pinned : bool, whether tensors are moved to page-locked memory, from which a GPU copies them while it computes

    Yields
    ------
    part, tensor

    Raises
    ------
    Whatever `read` raises, when its part is due.
    """
    threads = torch.get_num_threads()

    def prepare(part):
        values = read(part)
        return values.pin_memory() if pinned else values

    # A new thread would otherwise use as many threads of torch as the machine has cores.
    pool = ThreadPoolExecutor(readers, "read", initializer=torch.set_num_threads, initargs=(threads,))
    waiting = deque()
    try:
        for part in parts:
            waiting.append((part, pool.submit(prepare, part)))
            if len(waiting) > AHEAD * readers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
