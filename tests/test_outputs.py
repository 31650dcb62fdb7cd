"""What a run shows: text, JSON, Nagios, and the table on a terminal, which is a real pseudo-terminal here."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fcntl import ioctl

import pytest
from msgspec.structs import replace

from conftest import Run
from desk import ASLEEP, EMPTY, FRESH, STALE, WRONG_PASSWORD, Desk
from kuma import Kuma
from restic_monitor.model import SUMMED_UP, Code, Delivery, Result, Snapshot, Status, Summary, Verdict, Watch
from restic_monitor.outputs import json as json_output
from restic_monitor.outputs import nagios, text
from restic_monitor.outputs.report import Report

STARTED = datetime(2026, 11, 23, 1, 2, 3, 999999, tzinfo=UTC)
NEWEST = Snapshot("a1b2c3d4e5f6", datetime(2026, 11, 22, 21, 48, 0, 5, tzinfo=UTC), "web1")


@dataclass(frozen=True)
class Told:
    """A receiver; nobody sends in these tests."""

    def send(self, result: Result) -> Delivery:
        raise AssertionError

    def preview(self, result: Result) -> str:
        raise AssertionError


def result(name: str, status: Status = Status.UP, *, message: str = "", push: str | None = "accepted") -> Result:
    code = {Status.UP: Code.OK, Status.WARN: Code.WARN, Status.DOWN: Code.STALE, Status.UNKNOWN: Code.UNREACHABLE}[status]
    seen = status is not Status.UNKNOWN
    message = message or {Status.UNKNOWN: "no answer within 2m"}.get(status, "newest 3h old (limit 1d)")
    age = timedelta(hours=3, microseconds=5) if seen else None
    verdict = Verdict("freshness", status, code, message, NEWEST if seen else None, age, timedelta(days=1) if seen else None)
    deliveries = {None: None, "accepted": (Delivery(True),), "off": ()}.get(push, (Delivery(False, push or ""),))
    watch = Watch(name, (), () if push == "off" else (Told(),), max_age=timedelta(days=1))
    return Result(watch, (verdict,), "restic", timedelta(seconds=1.23456), 41 if seen else None, deliveries=deliveries)


EVERYTHING = Report(
    STARTED,
    (
        result("web"),
        result("db", Status.DOWN),
        result("büro 日本", Status.UNKNOWN, push="kuma.example.com did not answer in time"),
        result("laptop", Status.WARN, push="off"),
    ),
)


def line(name: str, status: Status = Status.UP, *, push: str | None = "off") -> Result:
    return replace(result(name, status, push=push), snapshots=7)


HOME = replace(
    result("home", Status.DOWN, message="db (3h), 2 others fresh"),
    lines=(line("nas"), line("db", Status.DOWN, push="accepted"), line("others/pi", Status.UNKNOWN, push="lost")),
)
"""A repository with expectations: two of its lines have a monitor of their own."""


# text


def test_the_text_for_people() -> None:
    assert text.render(EVERYTHING) == (
        "UP       web        OK newest 3h old (limit 1d)\n"
        "DOWN     db         STALE newest 3h old (limit 1d)\n"
        "UNKNOWN  büro 日本  UNREACHABLE no answer within 2m  [PUSH FAILED: kuma.example.com did not answer in time]\n"
        "WARN     laptop     WARN newest 3h old (limit 1d)  [no push address]\n"
        "4 repositories: 1 down, 1 unknown, 1 warn, 1 up; 2 pushed, 1 NOT pushed\n"
    )


def test_lines_stand_indented_below_their_repository() -> None:
    assert text.render(Report(STARTED, (HOME, result("web")))) == (
        "DOWN     home         STALE db (3h), 2 others fresh\n"
        "UP         nas        OK newest 3h old (limit 1d)\n"
        "DOWN       db         STALE newest 3h old (limit 1d)\n"
        "UNKNOWN    others/pi  UNREACHABLE no answer within 2m  [PUSH FAILED: lost]\n"
        "UP       web          OK newest 3h old (limit 1d)\n"
        "2 repositories: 1 down, 1 up; 3 pushed, 1 NOT pushed\n"
    )


def test_only_the_lines_that_need_attention_are_shown_when_asked() -> None:
    report = Report(STARTED, (HOME, result("web")), only_failing=True)
    assert [row.split()[1] for row in text.render(report).splitlines()] == ["home", "db", "others/pi"]
    assert [row.split(": ")[1] for row in nagios.render(report).splitlines()[1:]] == ["home", "home/db", "home/others/pi"]
    shown = json.loads(json_output.render(report))["results"]
    assert [[part["name"], [each["name"] for each in part["lines"]]] for part in shown] == [["home", ["db", "others/pi"]]]
    untold = replace(result("nas"), lines=(line("a", push="lost"), line("b")))
    assert "a " in text.render(Report(STARTED, (untold,), only_failing=True)), "up, and its push failed"


def test_json_has_the_lines_of_each_result() -> None:
    (home, web) = json.loads(json_output.render(Report(STARTED, (HOME, result("web")))))["results"]
    assert web["lines"] == []
    assert [(each["name"], each["status"], each["push"], each["push_message"]) for each in home["lines"]] == [
        ("nas", "up", "off", None),
        ("db", "down", "accepted", None),
        ("others/pi", "unknown", "failed", "lost"),
    ]
    assert home["push"] == "accepted"
    assert set(home) - set(home["lines"][0]) == {"lines", "source", "took_seconds"}
    assert home["lines"][0]["snapshots"] == 7


def test_json_says_what_the_newest_snapshot_holds_and_what_it_proves() -> None:
    proved = NEWEST.time - timedelta(days=3)
    newest = replace(NEWEST, summary=Summary(None, 12_000, 3_000_000_000), proved=proved)
    verdict = Verdict("freshness", Status.UP, Code.OK, "", newest, timedelta(days=3), timedelta(days=4), ("a note",))
    (part,) = json.loads(json_output.render(Report(STARTED, (replace(result("web"), verdicts=(verdict,)),))))["results"]
    said = {key: part[key] for key in ("newest", "proved", "age_seconds", "limit_seconds", "files", "size_bytes", "notes")}
    assert said == {
        "newest": "2026-11-22T21:48:00Z",
        "proved": "2026-11-19T21:48:00Z",
        "age_seconds": 259200,
        "limit_seconds": 345600,
        "files": 12_000,
        "size_bytes": 3_000_000_000,
        "notes": ["a note"],
    }


def test_nagios_has_a_value_for_each_line_and_none_for_their_repository() -> None:
    rendered = nagios.render(Report(STARTED, (HOME, result("web"))))
    summary, data = rendered.splitlines()[0].split(" | ")
    assert summary == "RESTIC CRITICAL - 2 repositories: 1 down, 1 up, 1 not told; home: STALE db (3h), 2 others fresh"
    assert data == "'home/nas'=10800s;;86400;0 'home/db'=10800s;;86400;0 'home/others/pi'=U;;86400;0 'web'=10800s;;86400;0"
    assert rendered.splitlines()[1:] == [
        "CRITICAL: home: STALE db (3h), 2 others fresh",
        "OK: home/nas: OK newest 3h old (limit 1d)",
        "CRITICAL: home/db: STALE newest 3h old (limit 1d)",
        "UNKNOWN: home/others/pi: UNREACHABLE no answer within 2m (push failed: lost)",
        "OK: web: OK newest 3h old (limit 1d)",
    ]


@pytest.mark.parametrize(
    ("own", "nas", "db", "untold"),
    [
        ("accepted", "off", "off", ()),  # the repository has somebody: all is told there
        ("off", "off", "off", ("home/nas", "home/db")),
        ("off", "accepted", "off", ("home/db",)),
        ("off", "accepted", "accepted", ()),
    ],
)
def test_a_line_is_told_by_its_own_receiver_or_by_its_repositorys(own: str, nas: str, db: str, untold: tuple[str, ...]) -> None:
    summed_up = Verdict(SUMMED_UP, Status.DOWN, Code.STALE, "nas (3h), db (3h)")
    lines = (line("nas", Status.DOWN, push=nas), line("db", Status.DOWN, push=db), line("pi"))
    home = replace(result("home", Status.DOWN, push=own), verdicts=(summed_up,), lines=lines)
    assert Report(STARTED, (home,)).untold == untold
    damaged = replace(home, verdicts=(summed_up, Verdict("readable", Status.DOWN, Code.ERROR, "damaged")))
    assert Report(STARTED, (damaged,)).untold == (untold or (("home",) if own == "off" else ()))


def test_what_nobody_could_see_is_told_where_every_line_is() -> None:
    reason = Verdict("probe", Status.UNKNOWN, Code.UNREACHABLE, "no answer")
    lines = tuple(replace(line(name, Status.UNKNOWN, push="accepted"), verdicts=(reason,)) for name in ("nas", "db"))
    home = replace(result("home", Status.UNKNOWN, push="off"), verdicts=(reason,), lines=lines)
    assert Report(STARTED, (home,)).untold == ()
    untold = replace(home, lines=(lines[0], replace(lines[1], watch=Watch("db"))))
    assert Report(STARTED, (untold,)).untold == ("home/db",)


def test_the_text_shows_only_what_needs_attention_when_asked() -> None:
    assert text.render(replace(EVERYTHING, only_failing=True)).splitlines() == [
        "DOWN     db         STALE newest 3h old (limit 1d)",
        "UNKNOWN  büro 日本  UNREACHABLE no answer within 2m  [PUSH FAILED: kuma.example.com did not answer in time]",
        "WARN     laptop     WARN newest 3h old (limit 1d)  [no push address]",
    ]
    untold = Report(STARTED, (result("web"), result("nas", push="lost")), only_failing=True)
    assert text.render(untold) == "UP  nas  OK newest 3h old (limit 1d)  [PUSH FAILED: lost]\n"
    assert text.render(Report(STARTED, (result("web"),), only_failing=True)) == ""


def test_the_text_names_what_an_interruption_left_out() -> None:
    report = Report(STARTED, (result("web"), result("db", push=None)), ("nas", "evil\x1b[2J\nname"), complete=False)
    assert text.render(report) == (
        "UP  web  OK newest 3h old (limit 1d)\n"
        "UP  db   OK newest 3h old (limit 1d)  [not pushed]\n"
        "interrupted; not finished: nas, evil [2J name\n"
        "2 repositories: 2 up; 1 pushed\n"
    )


def test_no_name_and_no_message_can_play_tricks_on_a_terminal() -> None:
    evil = "web\x1b[31m\r\nUP fake\u202e\u200b\x07"
    for rendered in (
        text.render(Report(STARTED, (result(evil, message=evil),))),
        nagios.render(Report(STARTED, (result(evil),))),
    ):
        assert len(rendered.splitlines()) == 2
        assert not {"\x1b", "\r", "\u202e", "\u200b", "\x07"} & set(rendered)


def test_the_text_says_that_nobody_was_told() -> None:
    said = replace(result("web"), deliveries=(Delivery(True, "would push status=up ping=1234"),))
    assert text.render(Report(STARTED, (said, result("nas", push="off")), telling=False)) == (
        "UP  web  OK newest 3h old (limit 1d)  [would push status=up ping=1234]\n"
        "UP  nas  OK newest 3h old (limit 1d)  [no push address]\n"
        "2 repositories: 2 up; nothing pushed (--no-push)\n"
    )


# JSON


def test_the_json_has_the_documented_shape() -> None:
    document = json.loads(json_output.render(replace(EVERYTHING, unfinished=("nas",))))
    assert {key: value for key, value in document.items() if key not in ("results", "program")} == {
        "version": 1,
        "started": "2026-11-23T01:02:03Z",
        "unfinished": ["nas"],
        "warnings": [],
    }
    assert re.fullmatch(r"restic-monitor \d+\.\d+\.\d+", document["program"])
    web, db, office, laptop = document["results"]
    assert web == {
        "name": "web",
        "status": "up",
        "code": "ok",
        "message": "OK newest 3h old (limit 1d)",
        "newest": "2026-11-22T21:48:00Z",
        "newest_id": "a1b2c3d4e5f6",
        "age_seconds": 10800,
        "proved": None,
        "max_age_seconds": 86400,
        "limit_seconds": 86400,
        "files": None,
        "size_bytes": None,
        "snapshots": 41,
        "source": "restic",
        "findings": [],
        "notes": [],
        "took_seconds": 1.235,
        "push": "accepted",
        "push_message": None,
        "lines": [],
    }
    assert office == {
        **web,
        "name": "büro 日本",
        "status": "unknown",
        "code": "unreachable",
        "message": "UNREACHABLE no answer within 2m",
        "findings": ["no answer within 2m"],
        "newest": None,
        "newest_id": None,
        "age_seconds": None,
        "limit_seconds": None,
        "snapshots": None,
        "push": "failed",
        "push_message": "kuma.example.com did not answer in time",
    }
    assert (db["status"], db["code"], laptop["status"], laptop["push"]) == ("down", "stale", "warn", "off")
    assert list(web) == list(office) == list(db)


def test_notes_and_warnings_are_told_where_they_belong() -> None:
    noted = replace(result("web"), notes=("no listing: b2 cannot be listed yet", "two\nlines"))
    report = Report(STARTED, (noted,), warnings=("the state is damaged",))
    document = json.loads(json_output.render(report))
    assert document["warnings"] == ["the state is damaged"]
    assert document["results"][0]["notes"] == list(noted.notes)
    assert document["results"][0]["message"] == "OK newest 3h old (limit 1d)"
    row, _ = text.render(report).splitlines()
    assert row == "UP  web  OK newest 3h old (limit 1d)  [no listing: b2 cannot be listed yet]  [two lines]"


def test_the_json_is_ascii_so_that_no_locale_spoils_it() -> None:
    rendered = json_output.render(EVERYTHING)
    assert rendered.isascii()
    assert rendered.endswith("}\n")


def test_the_json_of_nothing_is_json() -> None:
    assert json.loads(json_output.render(Report(STARTED, ())))["results"] == []


# Nagios


def test_the_plugin_output() -> None:
    assert nagios.render(EVERYTHING) == (
        "RESTIC CRITICAL - 4 repositories: 1 down, 1 unknown, 1 warn, 1 up, 1 not told; db: STALE newest 3h old (limit 1d)"
        " | 'web'=10800s;;86400;0 'db'=10800s;;86400;0 'laptop'=10800s;;86400;0\n"
        "OK: web: OK newest 3h old (limit 1d)\n"
        "CRITICAL: db: STALE newest 3h old (limit 1d)\n"
        "UNKNOWN: büro 日本: UNREACHABLE no answer within 2m (push failed: kuma.example.com did not answer in time)\n"
        "WARNING: laptop: WARN newest 3h old (limit 1d)\n"
    )


@pytest.mark.parametrize(
    ("report", "code", "word"),
    [
        (Report(STARTED, (result("a"), result("b", push="off"))), 0, "OK"),
        (Report(STARTED, (result("a"), result("b", Status.WARN))), 1, "WARNING"),
        (Report(STARTED, (result("a"), result("b", push="lost"))), 1, "WARNING"),
        (Report(STARTED, (result("a", Status.DOWN), result("b", Status.UNKNOWN))), 2, "CRITICAL"),
        (Report(STARTED, (result("a", Status.DOWN, push="lost"),)), 2, "CRITICAL"),
        (Report(STARTED, (result("a", Status.WARN), result("b", Status.UNKNOWN))), 3, "UNKNOWN"),
        (Report(STARTED, (result("a", Status.UNKNOWN, push="lost"),)), 3, "UNKNOWN"),
        (Report(STARTED, (result("a"),), ("b",), complete=False), 3, "UNKNOWN"),
        (Report(STARTED, (result("a", Status.DOWN),), ("b",), complete=False), 2, "CRITICAL"),
        (Report(STARTED, (result("a", push="internal error"),), complete=False), 3, "UNKNOWN"),
        (Report(STARTED, ()), 3, "UNKNOWN"),
    ],
)
def test_the_plugin_code_and_the_plugin_word_agree(report: Report, code: int, word: str) -> None:
    assert nagios.exit_status(report) == code
    assert nagios.render(report).startswith(f"RESTIC {word} - ")


PERFDATA = re.compile(r"'((?:[^'=|]|'')+)'=(\d+)s;;(\d+);0")


@pytest.mark.parametrize("name", ["it's", "a=b", "a|b", "two words", "'", "==", "日本", "a;b,c", "new\nline"])
def test_performance_data_can_be_parsed_whatever_a_name_holds(name: str) -> None:
    """https://www.monitoring-plugins.org/doc/guidelines.html: labels in quotes, quotes doubled, no `=`, and one `|`."""
    first, *others = nagios.render(Report(STARTED, (result(name), result("web")))).splitlines()
    assert first.count("|") == 1
    assert not any("|" in line for line in others)
    assert len(others) == 2
    data = first.partition(" | ")[2]
    assert [(age, limit) for _, age, limit in PERFDATA.findall(data)] == [("10800", "86400")] * 2
    assert PERFDATA.sub("", data).strip() == ""


# the program


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)


def test_the_formats_on_a_pipe(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH, "db": STALE}, {"web": kuma.add_monitor(), "db": kuma.add_monitor()}, kuma.url)
    done = desk()
    assert (done.returncode, done.stderr) == (1, "")
    assert re.fullmatch(
        r"UP    web  OK newest 3h old \(limit 1d \(default\)\); .*\n"
        r"DOWN  db   STALE newest 2d4h old \(limit 1d \(default\)\); last .*\n"
        r"2 repositories: 1 down, 1 up; 2 pushed\n",
        done.stdout,
    ), done.stdout
    done = desk("--format", "nagios")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("RESTIC CRITICAL - 2 repositories: 1 down, 1 up; db: STALE ")
    done = desk("--format", "json", "--only-failing")
    assert done.returncode == 1
    assert [each["name"] for each in json.loads(done.stdout)["results"]] == ["db"]
    assert len(kuma.beats) == 6


def test_only_failing_says_nothing_when_all_is_well(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH}, {"web": kuma.add_monitor()}, kuma.url)
    done = desk("--only-failing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(kuma.beats) == 1


def test_no_push_sends_nothing_and_shows_what_would_be_pushed(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH, "db": EMPTY}, {"web": kuma.add_monitor(), "db": kuma.add_monitor()}, kuma.url)
    done = desk("--no-push")
    assert done.returncode == 1
    web, db, summary = done.stdout.splitlines()
    assert re.search(r"^UP +web +OK newest .*  \[would push status=up ping=[1-9]\d*\]$", web)
    assert re.search(r"^DOWN +db +MISSING no snapshot in the repository  \[would push status=down ping=[1-9]\d*\]$", db)
    assert summary == "2 repositories: 1 down, 1 up; nothing pushed (--no-push)"
    results = json.loads(desk("run", "--no-push", "--format", "json").stdout)["results"]
    assert [each["push"] for each in results] == ["off", "off"]
    assert results[0]["push_message"].startswith("would push status=up ")
    assert not kuma.requests


def test_quiet_prints_nothing_but_errors_and_verbose_says_more(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"web": FRESH, "db": WRONG_PASSWORD}, {"web": kuma.add_monitor(), "db": "unknown"}, kuma.url)
    done = desk("-q")
    failed = f"restic-monitor: error: db: push failed: {kuma.url[7:]} knows no such monitor, or it is paused: "
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"{failed}is push_token right?\n")
    assert desk("-q", "--nonsense").stderr != ""
    assert desk().stderr == f"{failed}is push_token right?\n"
    done = desk("-v")
    assert "db: restic: Fatal: wrong password or no key found" in done.stderr.replace("/repositories/r1", "db")
    assert "web: UP OK newest 3h old" in done.stderr
    assert "--no-lock" not in done.stderr
    assert "snapshots --json --no-lock" in desk("-vv").stderr


@pytest.mark.parametrize("journal", [True, False])
def test_the_journal_is_told_the_priority_of_every_line(desk: Desk, kuma: Kuma, journal: bool) -> None:
    desk.configure({"web": FRESH, "db": "echo 'two\nlines' >&2; exit 1\n"}, {"web": "unknown"}, kuma.url)
    log = desk.folder / "stderr"
    with log.open("w") as stream:
        status = os.fstat(stream.fileno())
        stream_name = f"{status.st_dev}:{status.st_ino + (not journal)}"
        subprocess.run(
            [sys.executable, "-m", "restic_monitor", "-c", desk.config, "-v"],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={"PATH": os.environ["PATH"], "HOME": str(desk.home), "JOURNAL_STREAM": stream_name},
            check=False,
        )
    lines = log.read_text().splitlines()
    if journal:
        assert all(re.match(r"<[0-7]>", line) for line in lines), lines
        assert any(line.startswith("<3>web: push failed: ") for line in lines)
        assert any(line.startswith("<6>web: UP OK ") for line in lines)
    else:
        assert not any(line.startswith("<") for line in lines), lines


def test_the_journal_is_told_that_a_wrong_configuration_is_an_error(desk: Desk) -> None:
    log = desk.folder / "stderr"
    with log.open("w") as stream:
        status = os.fstat(stream.fileno())
        done = subprocess.run(
            [sys.executable, "-m", "restic_monitor", "-c", "/nonexistent"],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={"PATH": os.environ["PATH"], "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            check=False,
        )
    assert done.returncode == 2
    assert all(line.startswith("<3>restic-monitor: ") for line in log.read_text().splitlines())


# a terminal


@dataclass(frozen=True)
class Screen:
    """What came to a terminal; `final` is what stands there in the end, by a small part of VT100."""

    status: int
    raw: str
    stderr: str

    @property
    def final(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.raw):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part.startswith("\x1b"):
                count = int(re.sub(r"\D", "", part) or 1)
                if part.endswith("A"):
                    row = max(0, row - count)
                elif part.endswith("K"):
                    lines[row] = "" if part == "\x1b[2K" else lines[row][:column]
            else:
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines if line.strip()]


def on_a_terminal(
    desk: Desk,
    *arguments: str,
    columns: int = 120,
    env: Mapping[str, str] | None = None,
    stderr_elsewhere: bool = False,
) -> Screen:
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "restic_monitor", "-c", str(desk.config), *arguments],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE if stderr_elsewhere else follower,
        env={"PATH": os.environ["PATH"], "HOME": str(desk.home), "LANG": "C.UTF-8", "TERM": "xterm-256color", **(env or {})},
    )
    os.close(follower)
    received = read_terminal(leader)
    stderr = process.stderr.read().decode() if process.stderr else ""
    with process:
        return Screen(process.wait(10), received, stderr)


def read_terminal(leader: int) -> str:
    received, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if not select.select([leader], [], [], 0.1)[0]:
            continue
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        received += chunk
    os.close(leader)
    return received.decode()


def three(desk: Desk, kuma: Kuma) -> Sequence[str]:
    names = ["web", "db", "büro"]
    desk.configure(
        {"web": FRESH, "db": f"sleep 0.4\n{STALE}", "büro": f"sleep 0.8\n{WRONG_PASSWORD}"},
        {name: kuma.add_monitor() for name in names},
        kuma.url,
        jobs="3",
    )
    return names


def test_a_terminal_sees_results_as_they_come_with_a_progress_bar_and_colours(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    screen = on_a_terminal(desk)
    assert screen.status == 1
    for state in ("1/3", "2/3"):
        assert state in screen.raw
    assert re.search(r"….*db.*0s", re.sub(r"\x1b\[[\d;]*m", "", screen.raw)), "what is being looked at"
    assert screen.raw.index("OK newest 3h old") < screen.raw.index("STALE newest") < screen.raw.index("ERROR wrong password")
    assert "\x1b[32mUP" in screen.raw
    assert "\x1b[1;31mDOWN" in screen.raw
    final = screen.final
    assert re.match(r"UP +web +OK newest 3h old", final[0])
    assert re.match(r"DOWN +db +STALE newest", final[1])
    assert re.match(r"UNKNOWN +büro +ERROR wrong password", final[2])
    assert final[3:] == ["3 repositories: 1 down, 1 unknown, 1 up; 3 pushed"]
    assert "\x1b[?25l" in screen.raw
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is back"
    assert len(kuma.beats) == 3


def test_no_color_is_no_colour_and_the_same_words(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    screen = on_a_terminal(desk, env={"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[\d;]*3\d[\d;]*m", screen.raw)
    assert screen.final[-1] == "3 repositories: 1 down, 1 unknown, 1 up; 3 pushed"


def test_a_dumb_terminal_gets_no_escapes_at_all(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    screen = on_a_terminal(desk, env={"TERM": "dumb"})
    assert "\x1b" not in screen.raw
    assert screen.raw.count("STALE newest") == 1
    assert screen.final[-1] == "3 repositories: 1 down, 1 unknown, 1 up; 3 pushed"


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_wraps_and_loses_nothing(desk: Desk, kuma: Kuma, columns: int) -> None:
    three(desk, kuma)
    screen = on_a_terminal(desk, columns=columns)
    assert all(len(line) <= columns for line in screen.final), screen.final
    words = re.sub(r"\s", "", "".join(screen.final))
    assert "wrongpasswordornokey" in re.sub(r"[^a-z]", "", words)
    assert "3pushed" in words


def test_other_formats_and_quiet_have_no_table_on_a_terminal(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    for arguments in (["--format", "json"], ["--format", "nagios"], ["-q"]):
        screen = on_a_terminal(desk, *arguments)
        assert "\x1b" not in screen.raw, arguments
    assert screen.raw == ""


def test_logs_go_where_standard_error_goes_also_while_the_table_is_live(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    screen = on_a_terminal(desk, "-v", stderr_elsewhere=True)
    assert "web: UP OK newest" in screen.stderr
    assert "web: UP OK newest" not in screen.raw
    screen = on_a_terminal(desk, "-v")
    assert "web: UP OK newest" in screen.raw
    assert sum("web: UP OK" in line for line in screen.final) == 1


def test_markup_in_names_is_shown_as_it_stands(desk: Desk) -> None:
    desk.configure({"[red]x[/red]": FRESH, ":smile:": FRESH})
    screen = on_a_terminal(desk)
    assert screen.status == 0
    text = "\n".join(screen.final)
    assert "[red]x[/red]" in text
    assert ":smile:" in text


def test_only_failing_leaves_only_that_on_a_terminal(desk: Desk, kuma: Kuma) -> None:
    three(desk, kuma)
    final = on_a_terminal(desk, "--only-failing").final
    assert [line.split()[:2] for line in final] == [["DOWN", "db"], ["UNKNOWN", "büro"]]


def test_the_reason_of_a_fallback_is_on_the_terminal_too(desk: Desk) -> None:
    desk.configure({"web": FRESH}, repositories={"web": {"url": "b2:bucket:/r0"}}, defaults={"mode": "fast"})
    screen = on_a_terminal(desk)
    assert screen.status == 0
    row = " ".join(" ".join(screen.final[:-1]).split())
    assert "OK newest 3h old" in row
    assert "[no listing: b2 cannot be listed yet]" in row


def test_more_repositories_than_lines_fit_in_the_end(desk: Desk) -> None:
    desk.configure({f"r{number:02}": FRESH for number in range(40)})
    final = on_a_terminal(desk).final
    assert [line.split()[1] for line in final[:-1]] == [f"r{number:02}" for number in range(40)]
    assert final[-1] == "40 repositories: 40 up"


def test_a_slow_look_does_not_freeze_the_table(desk: Desk) -> None:
    desk.configure({"asleep": ASLEEP}, timeout="2s")
    screen = on_a_terminal(desk)
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.raw)
    assert re.search(r"asleep +1s", plain)
    assert screen.final[0].startswith("UNKNOWN  asleep  UNREACHABLE no answer within 2s")
