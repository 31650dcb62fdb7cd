"""Times of several things in one run, taken in turns, so that a busy moment of the machine meets all of them alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping


def medians(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of wall-clock time by name. Each round runs every case once and begins with another one than the last."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            started = time.perf_counter()
            cases[name]()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def machine() -> str:
    """What the seconds depend on; the ratios hardly do."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores{load}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
