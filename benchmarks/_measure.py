"""Times of several things in one run, taken in turns, so that a busy moment of the machine meets all of them alike."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took, its children included; of the memory it is the largest of them."""

    seconds: float
    cpu_seconds: float
    rss_bytes: int


def in_turns(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What the cases return, by name. Each round runs every case once and begins with another one than the last."""
    returned: dict[str, list[T]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            returned[name].append(cases[name]())
    return returned


def medians(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of wall-clock time by name, in turns."""

    def timed(case: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            case()
            return time.perf_counter() - started

        return run

    taken = in_turns({name: timed(case) for name, case in cases.items()}, rounds)
    return {name: statistics.median(times) for name, times in taken.items()}


def median(usages: Iterable[Usage]) -> Usage:
    """Of each number by itself."""
    seconds, cpu_seconds, rss_bytes = zip(*((each.seconds, each.cpu_seconds, each.rss_bytes) for each in usages), strict=True)
    return Usage(statistics.median(seconds), statistics.median(cpu_seconds), int(statistics.median(rss_bytes)))


_LAUNCHER = """
import os, sys, time
begun = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - begun
print(os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
"""
"""Linux counts the memory of who starts a process as that process' own peak: so somebody small starts it."""


def usage(command: Sequence[str], env: Mapping[str, str]) -> Usage:
    """Run it, its program with its whole path. Ends the benchmark when its exit status is not 0."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launcher, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    status, seconds, cpu_seconds, rss_bytes = done.stdout.split()
    if status != "0":
        raise SystemExit(f"{' '.join(command)[:300]} ended with {status}:\n{done.stderr[-3000:]}")
    return Usage(float(seconds), float(cpu_seconds), int(rss_bytes))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown has it, the columns aligned."""
    cells = [head, *rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join("-" * width for width in widths), *lines[1:]])


def machine() -> str:
    """What the seconds depend on; the ratios hardly do."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores{load}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
