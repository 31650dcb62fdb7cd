"""Listing mode against a bare client, a boto3 loop and a loop of `restic snapshots`, and what it costs by size.

The far side of most parts is benchmarks/store.py, a process of its own, which answers every request 50 ms late. Run it with
the environment that `script/setup` makes: `.venv/bin/python benchmarks/fast.py`. A full run takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/fast.py`
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from benchmarks._far_side import Counts, Store, store
from benchmarks._measure import Usage, in_turns, machine, median, table, usage
from benchmarks.bare import BUCKET, TOKEN
from benchmarks.looks import LOOP, make_repository

from restics import PASSWORD, programs, version_of
from servers import s3_server

HERE = Path(__file__).resolve().parent
REPOSITORIES = 1000
SNAPSHOTS = 10
MANY_SNAPSHOTS = 20_000
SIZES = (10, 100, 1000, 10_000)
LOOPED = 20
"""A loop of restic or boto3 over this many is long enough; the rest is reckoned from it."""


@dataclass(frozen=True)
class Bench:
    """What all parts share. `env` is that of every process that is measured."""

    folder: Path
    rounds: int
    latency_seconds: float
    env: Mapping[str, str]


# What is measured


def ours(bench: Bench, url: str, count: int, *, kuma: int | None, at_once: int = 64) -> list[str]:
    """restic-monitor over that many repositories, in listing mode."""
    push = f', push_url: "http://127.0.0.1:{kuma}/api/push/"' if kuma else ""
    lines = [f"connections: {at_once}", f'defaults: {{url: "{url}", mode: listing, max_age: 1d{push}}}', "repositories:"]
    for number in range(count):
        token = f'push_token: "{TOKEN.format(number)}"' if kuma else ""
        lines.append(f"  {BUCKET.format(number).removeprefix('restic-')}: {{{token}}}")
    config = bench.folder / f"{count}-{at_once}-{kuma}.yaml"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "restic_monitor", "-q", "--config", str(config)]


def start(command: Sequence[str]) -> list[str]:
    """The part of it that is the same without a network: the imports, and reading the configuration."""
    return [*command[:3], "config", "check", "--no-secrets", *command[3:]]


def script(name: str, store: Store, count: int, at_once: int) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, (store.s3, store.kuma, count, at_once))]


def measure(bench: Bench, commands: Mapping[str, Sequence[str]], env: Mapping[str, str] | None = None) -> dict[str, Usage]:
    cases = {name: partial(usage, command, {**bench.env, **(env or {})}) for name, command in commands.items()}
    for case in cases.values():
        case()  # the warm-up: bytecode, the state of a first run, and answers that the far side has made once
    return {name: median(usages) for name, usages in in_turns(cases, bench.rounds).items()}


# The parts


def network(bench: Bench) -> None:
    """The same requests as a bare client's, with as many in flight."""
    head = ("in flight", "what", "wall", "x bare", "CPU / repository", "peak RSS", "requests", "connections", "most in flight")
    rows = []
    with store(REPOSITORIES, SNAPSHOTS, bench.latency_seconds) as far_side:
        for at_once in (64, 256):
            command = ours(bench, far_side.url, REPOSITORIES, kuma=far_side.kuma, at_once=at_once)
            bare = script("bare.py", far_side, REPOSITORIES, at_once)
            commands = {"bare client": bare, "restic-monitor": command, "its start": start(command)}
            taken = measure(bench, commands)
            for name, each in taken.items():
                far_side.counted()
                usage(commands[name], bench.env)  # once more, to count
                ratio = f"{each.seconds / taken['bare client'].seconds:.2f}"
                cost = f"{each.cpu_seconds / REPOSITORIES * 1000:.2f} ms"
                rows.append((str(at_once), name, seconds(each), ratio, cost, memory(each), *counts(far_side.counted())))
    print(table(head, rows))


def counts(counted: Mapping[str, Counts]) -> tuple[str, str, str]:
    """Requests, connections and the most in flight: looks + pushes."""
    s3, kuma = counted["s3"], counted["kuma"]
    failed = f" ({s3.failed + kuma.failed} failed)" if s3.failed + kuma.failed else ""
    return (
        f"{s3.requests} + {kuma.requests}{failed}",
        f"{s3.connections} + {kuma.connections}",
        f"{s3.most_in_flight} + {kuma.most_in_flight}",
    )


def boto3(bench: Bench) -> None:
    """The same far side. A loop over 21 and one over 1 repository give the cost of each."""
    with store(REPOSITORIES, SNAPSHOTS, bench.latency_seconds) as far_side:
        commands = {
            "restic-monitor": ours(bench, far_side.url, REPOSITORIES, kuma=far_side.kuma),
            "boto3, 64 threads": script("boto3_loop.py", far_side, REPOSITORIES, 64),
            "loop over 21": script("boto3_loop.py", far_side, 1 + LOOPED, 1),
            "loop over 1": script("boto3_loop.py", far_side, 1, 1),
        }
        taken = measure(bench, commands)
    loop, one = taken.pop("loop over 21"), taken.pop("loop over 1")
    taken[f"boto3, a loop (from {LOOPED})"] = Usage(
        one.seconds + (loop.seconds - one.seconds) / LOOPED * (REPOSITORIES - 1),
        one.cpu_seconds + (loop.cpu_seconds - one.cpu_seconds) / LOOPED * (REPOSITORIES - 1),
        loop.rss_bytes,
    )
    compare(taken)


def restic(bench: Bench) -> None:
    """Copies of one real repository behind `rclone serve s3`, without latency; ours pushes besides, 50 ms late."""
    program = programs()["restic"]
    stored = bench.folder / "buckets"
    repository = make_repository(bench.folder / "template", program)
    for number in range(REPOSITORIES):
        copy(repository.path, stored / BUCKET.format(number))
    with s3_server(stored) as s3, store(1, 1, bench.latency_seconds) as far_side:
        url = s3.location("restic-{{ .Name }}")
        locations = [s3.location(BUCKET.format(number)) for number in range(LOOPED)]
        commands = {
            "restic-monitor": ours(bench, url, REPOSITORIES, kuma=far_side.kuma),
            "restic": [shutil.which("sh") or "/bin/sh", "-c", LOOP, "sh", *locations],
        }
        path = f"{program.parent}{os.pathsep}{bench.env['PATH']}"
        taken = measure(bench, commands, {**s3.env, "RESTIC_PASSWORD": PASSWORD, "PATH": path})
    loop = taken.pop("restic")
    times = REPOSITORIES / LOOPED
    name = f"{version_of(program).split(' compiled')[0]}, a loop (from {LOOPED})"
    compare({**taken, name: Usage(loop.seconds * times, loop.cpu_seconds * times, loop.rss_bytes)})


def copy(repository: Path, to: Path) -> None:
    """Hard links; without the 256 folders that restic makes on a disk, and not in a bucket."""
    for file in repository.rglob("*"):
        if file.is_file():
            target = to / file.relative_to(repository)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)


def size(bench: Bench) -> None:
    """The cost of one repository by their number: of all that is spent, and of each further one than in the row above."""
    head = ("repositories", "wall", "CPU", "its start", "wall / repository", "CPU / repository", "a further one", "peak RSS")
    with store(max(SIZES), SNAPSHOTS, bench.latency_seconds) as far_side:
        commands = {count: ours(bench, far_side.url, count, kuma=far_side.kuma) for count in SIZES}
        runs = {f"{count}": command for count, command in commands.items()}
        taken = measure(bench, {**runs, **{f"start {count}": start(command) for count, command in commands.items()}})
    rows = []
    before, fewer = Usage(0, 0, 0), 0
    for count in SIZES:
        run = taken[f"{count}"]
        costs = (run.seconds / count, run.cpu_seconds / count, (run.cpu_seconds - before.cpu_seconds) / (count - fewer))
        shown = [f"{cost * 1000:.2f} ms" for cost in costs]
        rows.append((f"{count:,}", seconds(run), cpu(run), seconds(taken[f"start {count}"]), *shown, memory(run)))
        before, fewer = run, count
    print(table(head, rows))


def one(bench: Bench) -> None:
    """One repository in a folder, without a push: the start is nearly all of it."""
    repository = make_repository(bench.folder / "one" / BUCKET.format(0), programs()["restic"])
    command = ours(bench, str(repository.path.parent / "restic-{{ .Name }}"), 1, kuma=None)
    compare(measure(bench, {"python -c pass": [sys.executable, "-c", "pass"], "restic-monitor": command}))


def large(bench: Bench) -> None:
    """One repository with very many snapshots: a page of 1,000 after the other."""
    with store(1, MANY_SNAPSHOTS, bench.latency_seconds) as many, store(1, SNAPSHOTS, bench.latency_seconds) as few:
        commands = {
            f"bare client, {MANY_SNAPSHOTS:,} snapshots": script("bare.py", many, 1, 1),
            f"restic-monitor, {MANY_SNAPSHOTS:,} snapshots": ours(bench, many.url, 1, kuma=many.kuma),
            f"restic-monitor, {SNAPSHOTS} snapshots": ours(bench, few.url, 1, kuma=few.kuma, at_once=65),
        }
        compare(measure(bench, commands))


def compare(taken: Mapping[str, Usage]) -> None:
    """Each with the first."""
    first = next(iter(taken.values()))
    rows = [
        (name, seconds(each), f"{each.seconds / first.seconds:.2f}", cpu(each), memory(each)) for name, each in taken.items()
    ]
    print(table(("what", "wall", "x first", "CPU", "peak RSS"), rows))


def seconds(each: Usage) -> str:
    return f"{each.seconds:.3f} s"


def cpu(each: Usage) -> str:
    return f"{each.cpu_seconds:.3f} s"


def memory(each: Usage) -> str:
    return f"{each.rss_bytes / 1e6:.0f} MB"


PARTS: Mapping[str, Callable[[Bench], None]] = {
    "network": network,
    "boto3": boto3,
    "restic": restic,
    "size": size,
    "one": one,
    "large": large,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given several times")
    parser.add_argument("--rounds", type=int, default=5, help="each runs every command once (default: 5)")
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS", help="of each answer (default: 0.05)")
    options = parser.parse_args()
    parts = options.only or list(PARTS)
    require(parts)
    print(f"{machine()}; {options.latency * 1000:g} ms of latency; medians of {options.rounds} interleaved rounds")
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="restic-monitor-benchmark-") as folder:
            print(f"\n{part}: {PARTS[part].__doc__}\n")
            PARTS[part](Bench(Path(folder), options.rounds, options.latency, environment(Path(folder))))
            sys.stdout.flush()
    return 0


def require(parts: Sequence[str]) -> None:
    """Before anything is measured."""
    if "boto3" in parts and not importlib.util.find_spec("boto3"):
        raise SystemExit("boto3 is not here: `uv pip install boto3`, or choose other parts with --only")
    if {"restic", "one"} & set(parts) and "restic" not in programs():
        raise SystemExit("no restic is here; run script/get-restic, or choose other parts with --only")


def environment(folder: Path) -> dict[str, str]:
    """Bytecode and state in a folder that the warm-up fills, as in startup.py. The stand-in takes any key."""
    kept = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}  # boto3 may be there
    return {
        **kept,
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


if __name__ == "__main__":
    sys.exit(main())
