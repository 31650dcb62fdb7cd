"""`restic-monitor groups`: the table, and what its user meets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from conftest import Run
from repositories import Written, json_bytes, snapshot, write_repository
from restic_monitor.commands import groups
from restic_monitor.model import Observation, Snapshot, Summary
from restics import PASSWORD, Backup, Repository, make_repository, require
from standins import Asked, Reply, answering

NOW = datetime(2026, 7, 22, 9, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GIB = 1 << 30
NO_RESTIC = "/nowhere/restic"


def snapshots(
    host: str,
    moments: Iterable[datetime],
    paths: Sequence[str] = ("/srv",),
    tags: Sequence[str] = (),
    sizes: Sequence[int] = (),
    proves: bool = True,
) -> Iterator[Snapshot]:
    """Newest first, as their sizes."""
    for number, moment in enumerate(moments):
        summary = Summary(moment, 1000, sizes[number % len(sizes)]) if sizes else None
        name = f"{abs(hash((host, moment, tuple(paths), tuple(tags)))):064x}"
        proved = moment if proves else None
        yield Snapshot(name, moment, host, tuple(paths), tuple(tags), summary=summary, proved=proved)


def every(interval: timedelta, count: int, newest: timedelta) -> list[datetime]:
    return [NOW - newest - number * interval for number in range(count)]


DAILY = every(DAY, 7, 5 * HOUR)


def table(*found: Iterable[Snapshot], unreadable: tuple[str, ...] = (), bars: str = "▁▂▃▅▇") -> str:
    seen = Observation("restic", tuple(snapshot for some in found for snapshot in some), unreadable, notes=("a note",))
    return groups.table(seen, NOW, bars)


def test_the_table_has_who_backs_up_the_newest_first_and_the_dormant_last() -> None:
    assert (
        table(
            snapshots("nas", DAILY, ["/srv", "/etc"], sizes=[12 * GIB]),
            snapshots("old-pc", every(DAY, 3, 200 * DAY), ["C:\\Users"], sizes=[GIB]),
            snapshots("db", every(DAY, 7, 2 * HOUR), ["/dump"], ["nightly"], sizes=[GIB, 2 * GIB, 3 * GIB]),
            snapshots("db", every(30 * DAY, 4, 12 * DAY), ["/dump"], ["monthly"], sizes=[GIB // 2]),
            snapshots("pi", every(DAY, 7, 4 * DAY), sizes=[300]),
            snapshots("", every(DAY, 1, DAY), [], sizes=[0]),
            unreadable=("0123456789abcdef",),
        )
        == """\
HOST       PATHS       TAGS      AGE  NEWEST             COUNT  USUALLY              SIZE  TREND
db         /dump       nightly    2h  2026-07-22 07:30Z      7  every 1d             1GiB  ▂▇▅▂▇▅▂
nas        /etc, /srv  -          5h  2026-07-22 04:30Z      7  every 1d            12GiB  ▇▇▇▇▇▇▇
(no host)  -           -          1d  2026-07-21 09:30Z      1  once                   0B  ▁
pi         /srv        -          4d  2026-07-18 09:30Z      7  every 1d, late       300B  ▇▇▇▇▇▇▇
db         /dump       monthly   12d  2026-07-10 09:30Z      4  every 30d          512MiB  ▇▇▇▇
old-pc     C:\\Users    -        200d  2026-01-03 09:30Z      3  every 1d, dormant    1GiB  ▇▇▇
29 snapshots in 6 groups
1 snapshot that cannot be read: 01234567
a note
"""
    )


def test_sizes_that_are_not_known_are_said_once() -> None:
    assert (
        table(snapshots("nas", DAILY), snapshots("web", DAILY[:1], sizes=[GIB]), snapshots("web", DAILY[1:]))
        == """\
HOST  PATHS  TAGS  AGE  NEWEST             COUNT  USUALLY   SIZE  TREND
nas   /srv   -      5h  2026-07-22 04:30Z      7  every 1d     -  -
web   /srv   -      5h  2026-07-22 04:30Z      7  every 1d  1GiB  ▇
14 snapshots in 2 groups
-: the size is not known; restic before 0.17 wrote the snapshot, or reads it here
a note
"""
    )


def test_what_proves_nothing_is_said() -> None:
    text = table(snapshots("nas", [NOW + DAY], proves=False, sizes=[1]), snapshots("nas", DAILY, sizes=[1]))
    assert text.splitlines()[1:] == [
        "nas   /srv   -      5h  2026-07-22 04:30Z      8  every 1d    1B  ▇▇▇▇▇▇▇▇",
        "8 snapshots in 1 group",
        "1 snapshot that proves no backup (dated in the future, or before 2014): nas",
        "a note",
    ]
    text = table(snapshots("nas", [NOW + DAY], proves=False, sizes=[1]))
    assert text.splitlines()[1] == "nas   /srv   -       ?  proves nothing      1  -          1B  ▇"


def test_what_is_dated_in_the_future_and_counts_all_the_same_is_said() -> None:
    """`backup --time`: the end of the backup is known."""
    (ahead,) = snapshots("nas", [NOW + DAY], sizes=[1])
    ahead = replace(ahead, proved=NOW - 5 * HOUR)
    assert table(snapshots("web", DAILY, sizes=[1]), [ahead]).splitlines()[3:] == [
        "8 snapshots in 2 groups",
        "1 snapshot dated in the future (2026-07-23 09:30Z) that counts from its end, or its arrival: nas",
        "a note",
    ]
    later = replace(ahead, id="f" * 64, time=NOW + 9 * DAY, host="pi")
    assert "2 snapshots dated in the future (2026-07-31 09:30Z) that count from their end, or their arrival: nas, pi" in table(
        [ahead, later]
    )
    assert "future" not in table([replace(ahead, time=NOW + 4 * MINUTE)]), "a clock may be a little ahead"


def test_what_is_new_each_time_is_one_group() -> None:
    text = table(
        (each for number, m in enumerate(DAILY) for each in snapshots(f"{number:012x}", [m], sizes=[1])),
        (each for number, m in enumerate(DAILY) for each in snapshots("lvm", [m], [f"/mnt/{number}"], sizes=[1])),
        (each for number, m in enumerate(DAILY) for each in snapshots("tagged", [m], tags=[f"{number}"], sizes=[1])),
        (each for number in range(5) for each in snapshots(f"pc{number}", DAILY[:1], sizes=[1])),
    )
    assert [line.split("  2026")[0].split("   5h")[0].rstrip() for line in text.splitlines()[1:-2]] == [
        "(7 hosts like 000000000000)  /srv           -",
        "lvm                          (7 different)  -",
        *(f"pc{number}                          /srv           -" for number in range(5)),
        "tagged                       /srv           (7 different)",
    ]


def test_a_terminal_is_not_commanded_and_columns_stay_in_line() -> None:
    text = table(snapshots("東京", DAILY, sizes=[1]), snapshots("\x1b[31mred\n", DAILY, ["/" + "x" * 200], sizes=[1]))
    assert "\x1b" not in text
    assert [line.index("2026") - line.count("京") - line.count("東") for line in text.splitlines()[1:3]] != []
    assert text.splitlines()[1].startswith("[31mred  /xxxx")
    assert text.splitlines()[2].startswith("東京     /srv ")
    assert max(map(len, text.splitlines())) < 160


@pytest.mark.parametrize(
    ("sizes", "bars"),
    [
        ([], ""),
        ([0], "▁"),
        ([0, 0], "▁▁"),
        ([5, 5, 5], "▇▇▇"),
        ([0, 1, 2, 3, 4, 5], "▁▂▃▅▇▇"),
        ([100, 99, 50, 1], "▇▇▃▁"),
        ([1 << 60, 1], "▇▁"),
    ],
)
def test_a_bar_is_as_high_as_the_size_is_large(sizes: Sequence[int], bars: str) -> None:
    assert groups.trend(sizes, "▁▂▃▅▇") == bars


def test_the_trend_is_of_the_last_dozen() -> None:
    text = table(snapshots("nas", every(DAY, 20, HOUR), sizes=[1] * 12 + [1000] * 8))
    assert text.splitlines()[1].endswith("  " + "▇" * 12)


def test_an_empty_repository_has_no_groups() -> None:
    assert table() == "no snapshot in the repository\na note\n"


# by its user


def written_by(moment: datetime, host: str) -> dict[str, Any]:
    return snapshot(moment, host, summary={"total_files_processed": 1, "total_bytes_processed": 1})


def configured(folder: Path, repository: Repository | Written, **more: str) -> Path:
    restic = repository.restic if isinstance(repository, Repository) else NO_RESTIC
    keys = {"url": repository.path, "password": PASSWORD, "restic": restic, **more}
    file = folder / "config.yaml"
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    file.write_text(f"repositories:\n  home:\n{lines}")
    file.chmod(0o600)
    return file


@pytest.mark.slow
def test_a_real_repository_is_shown(tmp_path: Path, run: Run, restic_version: str) -> None:
    now = datetime.now(UTC)
    backups = [Backup(now - (5 + 24 * days) * HOUR, "nas", ["nightly"]) for days in range(3)]
    repository = make_repository(tmp_path / "repo", restic_version, [*backups, Backup(now - 100 * DAY, "old")])
    done = run("groups", "home", "-c", configured(tmp_path, repository))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["HOST", "nas", "old"]
    with_sizes = restic_version != "0.14"
    assert "every 1d" in lines[1]
    assert lines[1].endswith("19B  ▇▇▇" if with_sizes else "-  -")
    assert "once, dormant" in lines[2]
    assert lines[3] == "4 snapshots in 2 groups"
    assert any(line.startswith("-: the size is not known") for line in lines) == (not with_sizes)
    assert [each for each in run.home.rglob("*") if each.is_file()] == [], "nothing is remembered"


def test_bars_are_plain_where_the_encoding_has_no_others(tmp_path: Path, run: Run) -> None:
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC) - HOUR, "Größe")])
    file = configured(tmp_path, repository)
    done = run("groups", "home", "-c", file, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].endswith("19B  #")
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("command", "mode"),
    [*itertools.product(["groups"], ["auto", "native", "fast", "listing", None]), ("suggest", "auto"), ("suggest", "listing")],
)
def test_no_restic_is_needed_where_our_own_reader_can_look(command: str, mode: str | None, tmp_path: Path, run: Run) -> None:
    """A listing does not show what is asked for: where it is wanted, also by a variable, both look as with `auto`."""
    written = write_repository(tmp_path / "repo", [written_by(datetime.now(UTC) - HOUR, "nas")])
    file = configured(tmp_path, written, **({"mode": mode} if mode else {}))
    done = run(command, "home", "-c", file, env={} if mode else {"RESTIC_MONITOR_FAST": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "nas" in done.stdout


def test_restic_is_asked_where_the_mode_says_so(tmp_path: Path, run: Run) -> None:
    written = write_repository(tmp_path / "repo", [written_by(datetime.now(UTC) - HOUR, "nas")])
    done = run("groups", "home", "-c", configured(tmp_path, written, mode="restic", restic=str(require("restic"))))
    assert (done.returncode, done.stderr) == (0, "")
    assert "nas" in done.stdout
    done = run("groups", "home", "-c", configured(tmp_path, written, mode="restic"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"restic-monitor: error: home: ERROR the program {NO_RESTIC} was not found")


def slow_to_read(written: Written, *names: str) -> Callable[[Asked], Reply]:
    """A rest-server that lists everything at once, and does not answer who reads one of these in time."""

    def answer(asked: Asked) -> Reply:
        file = written.path / asked.path.strip("/")
        if file.is_dir():
            return Reply(200, json_bytes([{"name": each.name, "size": each.stat().st_size} for each in file.iterdir()]))
        if asked.method == "GET" and file.name in names:
            time.sleep(2.5)
        return Reply(200, file.read_bytes())

    return answer


@pytest.mark.slow
def test_what_there_was_no_time_to_read_is_said(tmp_path: Path, run: Run) -> None:
    made = [written_by(datetime.now(UTC) - HOUR, host) for host in ("nas", "web", "db")]
    written = write_repository(tmp_path / "repo", made)
    with answering(slow_to_read(written, written.snapshots[2])) as server:
        keys = {"url": f"rest:{server.url}/", "timeout": "2s"}
        done = run("groups", "home", "-c", configured(tmp_path, written, **keys))
    assert done.returncode == 0
    assert done.stderr == (
        "restic-monitor: warning: home: 2 of 3 snapshot files read in time; a longer timeout: reads them all\n"
    )
    assert {line.split()[0] for line in done.stdout.splitlines()[1:3]} == {"nas", "web"}


def test_a_repository_of_which_nothing_was_read_in_time_is_not_called_empty(tmp_path: Path, run: Run) -> None:
    written = write_repository(tmp_path / "repo", [written_by(datetime.now(UTC) - HOUR, "nas")])
    with answering(slow_to_read(written, *written.snapshots)) as server:
        keys = {"url": f"rest:{server.url}/", "timeout": "2s"}
        done = run("suggest", "home", "-c", configured(tmp_path, written, **keys))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "restic-monitor: error: home: 0 of 1 snapshot files read in time; a longer timeout: reads them all\n"


def test_without_a_password_it_says_why_it_needs_one(tmp_path: Path, run: Run) -> None:
    file = configured(tmp_path, make_repository(tmp_path / "repo"), password="null")
    done = run("groups", "home", "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "restic-monitor: home: groups needs the repository's password: a listing shows when snapshots were stored, not whose "
        "they are; write password_file: PATH, or set RESTIC_PASSWORD_FILE\n"
    )


def test_a_repository_that_cannot_be_looked_at_is_an_error_with_its_reason(tmp_path: Path, run: Run) -> None:
    repository = make_repository(tmp_path / "repo")
    for more, reason in (
        ({"url": f"{tmp_path}/nope"}, f"there is no folder {tmp_path}/nope: is the disk mounted?\n"),
        ({"url": f"{tmp_path}/nope", "mode": "restic"}, f"no repository at {tmp_path}/nope"),
        ({"password": "canary"}, "wrong password or no key\n"),
        ({"password": "canary", "mode": "restic"}, "wrong password"),
    ):
        done = run("groups", "home", "-c", configured(tmp_path, repository, **more))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"restic-monitor: error: home: ERROR {reason}"), done.stderr
        assert "canary" not in done.stderr


def test_an_empty_repository_is_no_error(tmp_path: Path, run: Run) -> None:
    done = run("groups", "home", "-c", configured(tmp_path, make_repository(tmp_path / "repo")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "no snapshot in the repository\n", "")


@pytest.mark.slow
def test_a_snapshot_of_a_real_repository_from_the_future_is_said(tmp_path: Path, run: Run, restic_version: str) -> None:
    """restic shows no time of a file: there it proves a backup only where it is written down when that ended."""
    repository = make_repository(tmp_path / "repo", restic_version, [Backup(datetime.now(UTC) + 9 * DAY, "nas")])
    for command, mode in itertools.product(("groups", "suggest"), ("native", "restic")):
        done = run(command, "home", "-c", configured(tmp_path, repository, mode=mode))
        assert (done.returncode, done.stderr) == (0, "")
        (said,) = [line for line in done.stdout.splitlines() if "in the future" in line]
        proves_nothing = mode == "restic" and restic_version == "0.14"
        assert said.removeprefix("    # ").startswith("1 snapshot that" if proves_nothing else "1 snapshot dated")
        assert said.endswith(": nas")


@pytest.mark.parametrize("command", ["groups", "suggest"])
def test_the_name_may_be_left_out_where_there_is_one_repository(command: str, tmp_path: Path, run: Run) -> None:
    repository = make_repository(tmp_path / "repo", snapshots=[Backup(datetime.now(UTC) - HOUR, "nas")])
    file = configured(tmp_path, repository)
    named, unnamed = run(command, "home", "-c", file), run(command, "-c", file)
    assert (unnamed.returncode, unnamed.stderr) == (0, "")
    assert unnamed.stdout == named.stdout
    one = file.read_text()
    file.write_text(f"{one}  office:\n    url: /srv/office\n  attic:\n    url: /srv/attic\n    enabled: false\n")
    unnamed = run(command, "-c", file)
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert unnamed.stderr == f"restic-monitor: {command} looks at one repository, and needs its name; there are: home, office\n"
    file.write_text(f"{one}  attic:\n    url: /srv/attic\n    enabled: false\n")
    assert run(command, "-c", file).stdout == named.stdout, "one that is not enabled is none"
    file.write_text(f"{one}    enabled: false\n")
    unnamed = run(command, "-c", file)
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert "repositories: none is enabled" in unnamed.stderr


@pytest.mark.parametrize("command", ["groups", "suggest"])
def test_help_and_completion_know_the_command(command: str, tmp_path: Path, run: Run) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: restic-monitor {command} [OPTIONS] [NAME]" in done.stdout
    assert f"  {command} " in run("--help").stdout
    file = configured(tmp_path, make_repository(tmp_path / "repo"))
    words = {"COMP_WORDS": f"restic-monitor {command} ", "COMP_CWORD": "2", "RESTIC_MONITOR_CONFIG": str(file)}
    completed = run(env={"_RESTIC_MONITOR_COMPLETE": "bash_complete", **words})
    assert "plain,home" in completed.stdout


def test_ctrl_c_ends_restic_too(tmp_path: Path, run: Run) -> None:
    """The first signal ends the look, and what it started."""
    script = tmp_path / "restic"
    script.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nkill -TERM $PPID\nexec sleep 60\n")
    script.chmod(0o755)
    repository = Repository(tmp_path / "repo", script)
    done = run("groups", "home", "-c", configured(tmp_path, repository, mode="restic"), timeout=20)
    assert (done.returncode, done.stdout) == (143, "")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
