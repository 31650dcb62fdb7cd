"""`restic-monitor --no-push` against a shell loop of `restic snapshots`, over 1, 20 and 100 real repositories.

The repositories are copies of one, in folders or (--s3) in a bucket of `rclone serve s3` on this machine. Both commands
open every one of them with the password and without a cache. Run it with the environment that `script/setup` makes:
`.venv/bin/python benchmarks/looks.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/looks.py`
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from benchmarks._measure import machine, medians

from restics import PASSWORD, Backup, Repository, programs, version_of
from servers import S3, s3_server

ROUNDS = {1: 9, 20: 3, 100: 1}
"""By the number of repositories. A run takes three minutes on two cores; a round over 100 is an average by itself."""
SNAPSHOTS = 10

LOOP = """
for repository in "$@"; do
  restic -r "$repository" snapshots --json --no-lock --no-cache >/dev/null || exit 1
done
"""
XARGS = """
printf '%s\\n' "$@" | xargs -P "$CORES" -I {} sh -c 'restic -r "$1" snapshots --json --no-lock --no-cache >/dev/null' sh {}
"""


@dataclass(frozen=True)
class Store:
    """Where the copies are. `env` is what restic needs to reach them, the password included."""

    folder: Path
    s3: S3 | None
    env: Mapping[str, str]

    def locations(self, count: int) -> list[str]:
        names = [f"{number:03}" for number in range(count)]
        return [self.s3.location(f"backups/{name}") if self.s3 else str(self.folder / name) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", metavar="COUNT", type=int, nargs="*", help="repositories (default: 1 20 100)")
    parser.add_argument("--rounds", type=int, help=f"each runs every command once (default: {ROUNDS} by count)")
    parser.add_argument("--s3", action="store_true", help="over rclone serve s3 instead of folders")
    parser.add_argument("--xargs", action="store_true", help="a third command: `xargs -P`, as many at once as cores")
    options = parser.parse_args()
    counts = options.counts or list(ROUNDS)
    restic = programs().get("restic")
    if not restic:
        raise SystemExit("no restic is here; run script/get-restic")
    print(f"{machine()}\n{version_of(restic)}; {'rclone serve s3' if options.s3 else 'local folders'}")
    print(f"{SNAPSHOTS} snapshots in each; medians of interleaved runs\n")
    with tempfile.TemporaryDirectory(prefix="restic-monitor-benchmark-") as folder:
        stored = Path(folder, "store", "backups")
        copy_repository(make_repository(Path(folder, "template"), restic), stored, max(counts))
        with s3_server(stored.parent) if options.s3 else nullcontext() as s3:
            store = Store(stored, s3, environment(Path(folder), restic, s3))
            run(ours(store, 1), store.env)  # the warm-up: bytecode, and restic in memory
            for count in counts:
                rounds = options.rounds or ROUNDS.get(count, 3)
                show(count, rounds, measure(store, count, rounds, xargs=options.xargs))
    return 0


def make_repository(path: Path, restic: Path) -> Repository:
    """By `restic init`: the key has the cost that restic gives it on this machine, not the light one of the tests."""
    repository = Repository(path, restic)
    repository.run("init")
    for hours in range(SNAPSHOTS):
        repository.backup(Backup(datetime.now(UTC) - timedelta(hours=hours)))
    return repository


def copy_repository(repository: Repository, folder: Path, count: int) -> None:
    for number in range(count):
        shutil.copytree(repository.path, folder / f"{number:03}")


def environment(folder: Path, restic: Path, s3: S3 | None) -> dict[str, str]:
    """The same for all commands. Bytecode goes to a folder that the warm-up fills, as in startup.py."""
    (folder / "bin").mkdir()
    (folder / "bin" / "restic").symlink_to(restic)
    return {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "CORES": str(os.cpu_count() or 1),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "RESTIC_PASSWORD": PASSWORD,
        **(s3.env if s3 else {}),
    }


def measure(store: Store, count: int, rounds: int, *, xargs: bool) -> dict[str, float]:
    commands = {"shell loop": shell(LOOP, store, count), "restic-monitor": ours(store, count)}
    if xargs:
        commands["xargs -P"] = shell(XARGS, store, count)
    return medians({name: partial(run, command, store.env) for name, command in commands.items()}, rounds)


def shell(script: str, store: Store, count: int) -> list[str]:
    return ["sh", "-c", script, "sh", *store.locations(count)]


def ours(store: Store, count: int) -> list[str]:
    config = write_config(store, store.locations(count))
    return [sys.executable, "-m", "restic_monitor", "--no-push", "--config", str(config)]


def write_config(store: Store, locations: Sequence[str]) -> Path:
    """Each repository with a push address, which --no-push keeps from being used. YAML, as JSON is."""
    repositories = {f"repository-{at}": {"url": url, "push_token": f"{at:032}"} for at, url in enumerate(locations)}
    path = store.folder.parent.parent / f"{len(locations)}.yaml"
    defaults = {"push_url": "http://127.0.0.1:9/api/push/", "max_age": "1d"}
    path.write_text(json.dumps({"defaults": defaults, "repositories": repositories}))
    return path


def run(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Both end with 0 only when every repository was opened."""
    done = subprocess.run(command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[:4]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def show(count: int, rounds: int, seconds: Mapping[str, float]) -> None:
    loop = seconds["shell loop"]
    named = [f"{name} {taken:6.2f} s ({taken / loop:.2f} x)" for name, taken in seconds.items()]
    print(f"repositories: {count:3}, rounds: {rounds}:  {', '.join(named)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
