"""Judging 10,000 snapshots of 200 groups: what the expectations of a large repository cost, beside reading restic's list.

    python benchmarks/expectations.py [SNAPSHOTS] [GROUPS]

Ratios against decoding the same list, which every look has to do. The promise is 0.3 s for judging.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/expectations.py`

from benchmarks._measure import machine, medians

from restic_monitor import history, proof
from restic_monitor.checks.expectations import Expectation, Expectations, Filter
from restic_monitor.checks.freshness import Freshness
from restic_monitor.checks.plausible import Plausible
from restic_monitor.model import Observation, Past, Snapshot
from restic_monitor.probes.restic import output
from restic_monitor.recency import MaxAge, Schedule
from restic_monitor.repository import documents

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ROUNDS = 7


def listed(count: int, groups: int) -> bytes:
    """As restic 0.19 prints it: one snapshot an hour, host after host."""
    return json.dumps(
        [
            {
                "time": (NOW - timedelta(hours=1 + number // groups)).isoformat(),
                "tree": f"{number:064x}",
                "paths": ["/srv", "/etc"],
                "hostname": f"machine-{number % groups}",
                "username": "root",
                "tags": ["nightly"],
                "program_version": "restic 0.19.1",
                "summary": {
                    "backup_start": (NOW - timedelta(hours=1 + number // groups)).isoformat(),
                    "backup_end": (NOW - timedelta(hours=1 + number // groups)).isoformat(),
                    "total_files_processed": 10_000 + number % 7,
                    "total_bytes_processed": 10**9 + number % 7,
                },
                "id": f"{number:064x}",
                "short_id": f"{number:08x}",
            }
            for number in range(count)
        ]
    ).encode()


def read(stdout: bytes) -> list[Snapshot]:
    return [snapshot for record in output.records_in(stdout) or () if (snapshot := documents.snapshot(record))]


def proved(snapshots: list[Snapshot], past: Past | None) -> Observation:
    files = history.dated(((each.id, None) for each in snapshots), "snapshots", past, NOW)
    return Observation("restic", proof.prove(snapshots, past, NOW, files), ())


def main(count: int = 10_000, groups: int = 200) -> None:
    checks = (Freshness(MaxAge(timedelta(days=1), "1d")), Plausible(1, (1, "1B"), (50, "50%")))
    weekdays = (Freshness(Schedule("0 22 * * 1-5", "Europe/Berlin")), *checks[1:])
    by_name = Expectations(tuple(Expectation(f"machine-{n}", weekdays, Filter(host=f"machine-{n}")) for n in range(groups)))
    by_group = Expectations((Expectation("all", checks, Filter(), ("host", "paths", "tags")),))
    stdout = listed(count, groups)
    snapshots = read(stdout)
    seen = proved(snapshots, None)
    assert len(by_name.judge(seen, NOW)[1]) == len(by_group.judge(seen, NOW)[1]) == groups
    taken = medians(
        {
            "reading restic's list": lambda: read(stdout),
            "what they prove": lambda: proved(snapshots, None),
            f"{groups} expectations by name": lambda: by_name.judge(seen, NOW),
            f"{groups} groups of one": lambda: by_group.judge(seen, NOW),
            "no expectations": lambda: Plausible(max_shrink=(50, "50%"), each=True).judge(seen, NOW),
        },
        ROUNDS,
    )
    base = taken["reading restic's list"]
    print(machine())
    print(f"{count:,} snapshots, {groups} groups; median of {ROUNDS}, in turns")
    for name, seconds in taken.items():
        print(f"  {name:28} {seconds * 1000:7.0f} ms  {seconds / base:5.2f} ×")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
