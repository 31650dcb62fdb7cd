"""The native reader against `restic snapshots --json --no-lock --no-cache` and the fast mode, and whether the goals are met.

    .venv/bin/python benchmarks/native.py                          # everything: 10,000 snapshots, about 4 minutes
    .venv/bin/python benchmarks/native.py --snapshots 1000 --repositories 10 --rounds 1

S3 is benchmarks/store.py, which answers every request 30 ms late, with repositories that tests/repositories.py writes; the keys
cost what restic's own do. Every command is a whole process. Exit status 1 when a goal is missed: they are for 10,000 snapshots.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/native.py`
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from benchmarks._far_side import Store, store_of
from benchmarks._measure import Usage, in_turns, machine, median, table, usage
from benchmarks.fast import copy, cpu, environment, memory, seconds

from repositories import Written, snapshot, write_repository
from restic_monitor.repository import keys
from restics import PASSWORD, programs, version_of

FEW = 10
"""Snapshots of a small repository."""
HOSTS = 20
KEY_N, KEY_R, KEY_P = 1 << 15, 8, 5
"""What `restic init` makes of half a second."""
FIRST_UP = "2s"
"""The time limit that ends the reading once the newest are read."""


@dataclass(frozen=True)
class Bench:
    """What all parts share. `env` is that of every process that is measured."""

    folder: Path
    snapshots: int
    repositories: int
    rounds: int
    latency_seconds: float
    restic: Path
    env: Mapping[str, str]


@dataclass(frozen=True)
class Goal:
    what: str
    measured: float
    at_most: bool
    limit: float

    @property
    def met(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def row(self) -> tuple[str, str, str, str]:
        sign = "≤" if self.at_most else "≥"
        return self.what, f"{self.measured:.2f}", f"{sign} {self.limit:g}", "met" if self.met else "MISSED"


@dataclass(frozen=True)
class Command:
    """`cold`: what it remembers is forgotten before each run, else it is filled by a run that is not measured."""

    words: Sequence[str]
    env: Mapping[str, str]
    cold: bool = False

    def run(self) -> Usage:
        if self.cold:
            shutil.rmtree(self.env["XDG_STATE_HOME"], ignore_errors=True)
        return usage(self.words, self.env)


# What is measured


def ours(
    bench: Bench, name: str, urls: Mapping[str, str], mode: str = "native", *, cold: bool = False, **of_a_look: str
) -> Command:
    """restic-monitor over these repositories; it ends with 0 only when every one is up."""
    defaults = {"mode": mode, "max_age": "1d", "password": PASSWORD, **of_a_look}
    if mode == "fast":
        del defaults["password"]
    config = bench.folder / f"{name}.yaml"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"defaults": defaults, "repositories": {each: {"url": url} for each, url in urls.items()}}))
    words = [sys.executable, "-m", "restic_monitor", "-q", "--config", str(config)]
    return Command(words, {**bench.env, "XDG_STATE_HOME": str(bench.folder / f"state of {name}")}, cold)


def restic(bench: Bench, url: str) -> Command:
    words = [str(bench.restic), "-r", url, "snapshots", "--json", "--no-lock", "--no-cache"]
    return Command(words, {**bench.env, "RESTIC_PASSWORD": PASSWORD, "AWS_DEFAULT_REGION": "us-east-1"})


def written(path: Path, count: int) -> Written:
    """One snapshot an hour, of one host after the other, as restic 0.19 writes it; the newest is an hour old."""
    repository, now = write_repository(path, n=KEY_N, r=KEY_R, p=KEY_P), datetime.now(UTC)
    for hours in range(1, count + 1):
        began = now - timedelta(hours=hours)
        repository.add_snapshot(snapshot(began, f"machine-{hours % HOSTS}", ["/etc", "/srv"], **_more(began)), at=began)
    return repository


def _more(began: datetime) -> dict[str, object]:
    moment, counts = began.isoformat(), dict.fromkeys(("files_new", "files_changed", "files_unmodified", "data_blobs"), 12_345)
    summary = {"backup_start": moment, "backup_end": moment, **counts, "total_files_processed": 12_345}
    return {
        "tags": ["nightly"],
        "program_version": "restic 0.19.1",
        "parent": "6" * 64,
        "summary": {**summary, "total_bytes_processed": 1_234_567_890},
    }


def in_rounds(commands: Mapping[str, Command], rounds: int) -> dict[str, list[Usage]]:
    return in_turns({name: command.run for name, command in commands.items()}, rounds)


def show(taken: Mapping[str, Usage], *against: str) -> None:
    """Each with those `against`."""
    rows = [
        (
            name,
            seconds(each),
            *(f"{taken[other].seconds / each.seconds:.2f}" for other in against),
            cpu(each),
            memory(each),
        )
        for name, each in taken.items()
    ]
    print(table(("what", "wall", *(f"× faster than {other}" for other in against), "CPU", "peak RSS"), rows))


# The parts


def history(bench: Bench) -> list[Goal]:
    """One repository with many snapshots on S3. `first up` ends by its time limit, with the newest read; restic runs once."""
    written(bench.folder / "buckets" / "large", bench.snapshots)
    with store_of(bench.folder / "buckets", bench.latency_seconds) as far_side:
        url = f"s3:http://127.0.0.1:{far_side.s3}/large"
        commands = {
            "first up": ours(bench, "first", {"large": url}, cold=True, timeout=FIRST_UP),
            "whole history": ours(bench, "whole", {"large": url}, cold=True),
            "unchanged": ours(bench, "unchanged", {"large": url}),
        }
        for name in ("unchanged", "first up"):
            commands[name].run()  # the warm-up: bytecode, what is remembered
        runs = in_rounds({"restic": restic(bench, url)}, 1) | in_rounds(commands, bench.rounds)
    taken = {name: median(usages) for name, usages in runs.items()}
    show(taken, "restic")
    faster = {name: taken["restic"].seconds / each.seconds for name, each in taken.items()}
    peak = max(each.rss_bytes for name, usages in runs.items() if name != "restic" for each in usages)
    return [
        Goal("first up, cold, × faster than restic", faster["first up"], at_most=False, limit=25),
        Goal("whole history, cold, × faster than restic", faster["whole history"], at_most=False, limit=4),
        Goal("unchanged, × faster than restic", faster["unchanged"], at_most=False, limit=40),
        Goal("peak RSS in MB", peak / 1e6, at_most=True, limit=100),
    ]


def many(bench: Bench) -> list[Goal]:
    """Many repositories with passwords on S3, unchanged, against the fast mode of the same."""
    repository = written(bench.folder / "template", FEW)
    names = [f"r{number:03}" for number in range(bench.repositories)]
    for name in names:
        copy(repository.path, bench.folder / "buckets" / name)
    with store_of(bench.folder / "buckets", bench.latency_seconds) as far_side:
        urls = {name: f"s3:http://127.0.0.1:{far_side.s3}/{name}" for name in names}
        commands = {mode: ours(bench, mode, urls, mode) for mode in ("fast", "native")}
        for command in commands.values():
            command.run()
        runs = in_rounds(commands, bench.rounds)
        asked = {name: requests(command, far_side) for name, command in commands.items()}
    taken = {name: median(usages) for name, usages in runs.items()}
    show(taken, "fast")
    derivations = len(names) * derivation_seconds(repository)
    print(f"\nrequests: {asked}; {len(names)} keys would take {derivations:.1f} s of CPU")
    return [
        Goal(
            "unchanged, × the wall of the fast mode", taken["native"].seconds / taken["fast"].seconds, at_most=True, limit=1.2
        ),
        Goal(
            "unchanged, × the CPU of the fast mode",
            taken["native"].cpu_seconds / taken["fast"].cpu_seconds,
            at_most=True,
            limit=1.2,
        ),
        Goal("requests of a look: the listing, no key", asked["native"] / len(names), at_most=True, limit=1),
        Goal("CPU, × that of deriving each key", taken["native"].cpu_seconds / derivations, at_most=True, limit=0.5),
    ]


def requests(command: Command, far_side: Store) -> int:
    """Of a run more."""
    far_side.counted()
    command.run()
    return far_side.counted()["s3"].requests


def derivation_seconds(repository: Written) -> float:
    """Of CPU."""
    (file,) = (repository.path / "keys").iterdir()
    sealed, begun = keys.read(file.read_bytes()), time.process_time()
    if not sealed.open(repository.password.encode(), time.monotonic() + 60):
        raise SystemExit("the key that was just written is not opened")
    return time.process_time() - begun


def local(bench: Bench) -> list[Goal]:
    """One repository in a folder, cold."""
    path = str(written(bench.folder / "local", FEW).path)
    commands = {"restic": restic(bench, path), "native": ours(bench, "local", {"local": path}, cold=True)}
    in_rounds(commands, 1)
    taken = {name: median(usages) for name, usages in in_rounds(commands, 3 * bench.rounds).items()}
    show(taken, "restic")
    return [Goal("a folder, cold, × restic", taken["native"].seconds / taken["restic"].seconds, at_most=True, limit=1.2)]


PARTS: Mapping[str, Callable[[Bench], list[Goal]]] = {"history": history, "many": many, "local": local}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given several times")
    parser.add_argument("--snapshots", type=int, default=10_000, help="of the large repository (default: 10000)")
    parser.add_argument("--repositories", type=int, default=100, help="of those that are unchanged (default: 100)")
    parser.add_argument("--rounds", type=int, default=3, help="each runs every command once (default: 3)")
    parser.add_argument("--latency", type=float, default=0.03, metavar="SECONDS", help="of each answer (default: 0.03)")
    options = parser.parse_args()
    if not (program := programs().get("restic")):
        raise SystemExit("no restic is here; run script/get-restic")
    print(f"{machine()}; {version_of(program)}")
    print(f"{options.latency * 1000:g} ms of latency; medians of {options.rounds} interleaved rounds")
    goals = []
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="restic-monitor-benchmark-") as folder:
            print(f"\n{part}: {PARTS[part].__doc__}\n")
            sizes = (options.snapshots, options.repositories, options.rounds, options.latency)
            goals += PARTS[part](Bench(Path(folder), *sizes, program, environment(Path(folder))))
            sys.stdout.flush()
    print(f"\n{table(('goal', 'measured', 'limit', ''), [goal.row() for goal in goals])}")
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
