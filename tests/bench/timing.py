"""Times of several ways to do one thing, taken in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a run gave, and the seconds that the whole work takes (scaled up where only a part of it was run)."""

    values: Any
    seconds: float


@dataclass(frozen=True)
class Spread:
    """Median, least and most of `n` figures."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, figures):
        figures = list(figures)
        return cls(statistics.median(figures), min(figures), max(figures), len(figures))


def timed(run: Callable) -> Callable[[], Outcome]:
    """`run`, its wall time taken."""

    def outcome():
        started = time.perf_counter()
        values = run()
        return Outcome(values, time.perf_counter() - started)

    return outcome


def in_turn(contenders: dict[str, Callable[[], Outcome]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each contender, `repeats` times: A, B, C, A, B, C, …"""
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            seconds[name].append(run().seconds)
    return seconds


def ratios(numerator: list[float], denominator: list[float]) -> Spread:
    """Ratios round by round: the two times of a ratio were taken one after the other."""
    return Spread.of(a / b for a, b in zip(numerator, denominator, strict=True))
