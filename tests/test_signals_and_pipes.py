"""However the program is interrupted, and whoever stops listening: children end, pushes happen, the status stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run
from desk import ASLEEP, FRESH, STALE, Desk
from kuma import Kuma


@pytest.fixture
def desk(run: Run) -> Desk:
    return Desk(run)


class Started:
    """The program, going on."""

    def __init__(self, desk: Desk, *arguments: str, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "restic_monitor", "-c", str(desk.config), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(desk.home), "LANG": "C.UTF-8"},
            start_new_session=True,
        )

    def end(self, timeout: float = 10) -> tuple[int, str, str]:
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.communicate()
        return self.process.returncode, stdout, stderr


def wait_for(path: Path, seconds: float = 15) -> str:
    """What stands in a file, as soon as a whole line does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text().strip()
        time.sleep(0.01)
    raise AssertionError(f"{path.name} did not come")


def gone(pid: int, seconds: float = 2) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def asleep(desk: Desk, name: str = "pids", stubborn: bool = False) -> str:
    """A restic that sleeps, with a child that sleeps; both numbers are in a file."""
    trap = "trap '' TERM; " if stubborn else ""
    return f"{trap}sleep 60 & echo $$ $! >{desk.folder / name}; sleep 60; sleep 60\n"


def interrupted(desk: Desk, kuma: Kuma, *arguments: str) -> tuple[Started, list[int]]:
    """A run of which one look is finished and told, one goes on, and one has not begun."""
    token = kuma.add_monitor()
    desk.configure({"fresh": FRESH, "asleep": asleep(desk), "waiting": FRESH}, {"fresh": token}, kuma.url, jobs="1")
    started = Started(desk, *arguments)
    pids = [int(pid) for pid in wait_for(desk.folder / "pids").split()]
    kuma.wait_for_beats(1)
    return started, pids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_the_children_and_reports_what_is_done(desk: Desk, kuma: Kuma, number: signal.Signals) -> None:
    started, pids = interrupted(desk, kuma)
    if number != signal.SIGINT:  # which comes while the push ends, the others while nothing else happens
        time.sleep(0.4)
    os.kill(started.process.pid, number)
    began = time.monotonic()
    status, stdout, stderr = started.end()
    assert time.monotonic() - began < 3
    assert status == 128 + number
    fresh, unfinished, summary = stdout.splitlines()
    assert fresh.startswith("UP  fresh  OK newest 3h old")
    assert unfinished == "interrupted; not finished: asleep, waiting"
    assert summary == "1 repository: 1 up; 1 pushed"
    assert "Traceback" not in stderr
    assert all(gone(pid) for pid in pids)
    assert [beat.status for beat in kuma.beats] == ["up"]


def test_an_interrupted_run_prints_whole_json(desk: Desk, kuma: Kuma) -> None:
    started, _ = interrupted(desk, kuma, "--format", "json")
    started.process.send_signal(signal.SIGTERM)
    status, stdout, _ = started.end()
    document = json.loads(stdout)
    assert status == 143
    assert [(each["name"], each["push"]) for each in document["results"]] == [("fresh", "accepted")]
    assert document["unfinished"] == ["asleep", "waiting"]


def test_an_interrupted_plugin_says_unknown(desk: Desk, kuma: Kuma) -> None:
    started, _ = interrupted(desk, kuma, "--format", "nagios")
    started.process.send_signal(signal.SIGINT)
    status, stdout, _ = started.end()
    assert status == 3
    assert stdout.startswith("RESTIC UNKNOWN - 1 repository: 1 up, 2 not finished | 'fresh'=")


def test_a_push_under_way_may_end_after_an_interruption(desk: Desk, kuma: Kuma) -> None:
    kuma.delay_seconds = 1.0
    desk.configure({"fresh": FRESH, "asleep": asleep(desk)}, {"fresh": kuma.add_monitor()}, kuma.url, jobs="2")
    started = Started(desk)
    wait_for(desk.folder / "pids")
    while not kuma.requests:
        time.sleep(0.01)
    started.process.send_signal(signal.SIGINT)
    status, stdout, _ = started.end()
    assert status == 130
    assert "1 repository: 1 up; 1 pushed" in stdout
    assert len(kuma.beats) == 1


def test_a_push_that_never_ends_does_not_hold_up_an_interruption(desk: Desk, kuma: Kuma) -> None:
    kuma.drip("headers", times=None)
    desk.configure({"fresh": FRESH}, {"fresh": kuma.add_monitor()}, kuma.url)
    started = Started(desk)
    kuma.wait_for_beats(1)
    began = time.monotonic()
    started.process.send_signal(signal.SIGINT)
    status, stdout, _ = started.end()
    assert (status, time.monotonic() - began < 5) == (130, True)
    assert "[PUSH FAILED: no answer; given up]" in stdout


def test_a_second_interruption_leaves_no_child_either(desk: Desk, kuma: Kuma) -> None:
    desk.configure({"asleep": asleep(desk, stubborn=True)})
    started = Started(desk)
    pids = [int(pid) for pid in wait_for(desk.folder / "pids").split()]
    began = time.monotonic()
    started.process.send_signal(signal.SIGINT)
    time.sleep(0.4)
    started.process.send_signal(signal.SIGINT)
    status, _, stderr = started.end()
    assert time.monotonic() - began < 4
    assert status == 130
    assert "Traceback" not in stderr
    survivors = [pid for pid in pids if not gone(pid)]
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert not survivors


def test_a_child_that_ignores_the_signal_is_killed(desk: Desk) -> None:
    desk.configure({"asleep": asleep(desk, stubborn=True)})
    started = Started(desk)
    pids = [int(pid) for pid in wait_for(desk.folder / "pids").split()]
    started.process.send_signal(signal.SIGTERM)
    assert started.end()[0] == 143
    assert all(gone(pid) for pid in pids)


def test_an_interruption_during_startup_is_130_and_says_nothing_strange(desk: Desk) -> None:
    """The configuration is a pipe that nobody writes: the program waits for it."""
    os.mkfifo(desk.config)
    started = Started(desk)
    with desk.config.open("w"):  # returns when the program has opened it
        started.process.send_signal(signal.SIGINT)
        status, stdout, stderr = started.end()
    assert (status, stdout, stderr.strip()) == (130, "", "")


def test_interrupted_by_nohup_a_run_goes_on(desk: Desk) -> None:
    desk.configure({"slow": f"echo begun >{desk.folder / 'begun'}\nsleep 0.5\n{FRESH}"})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        started = Started(desk)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(desk.folder / "begun")
    started.process.send_signal(signal.SIGHUP)
    assert started.end()[0] == 0


# nobody listens


def shell(desk: Desk, command: str) -> subprocess.CompletedProcess[str]:
    """`m` is the program with its configuration; the exit status is that of the program, from the file `status`."""
    script = f'm() {{ {sys.executable} -m restic_monitor -c {desk.config} "$@"; echo $? >{desk.folder}/status; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(desk.home), "LANG": "C.UTF-8"},
        timeout=30,
        check=False,
    )


@pytest.fixture
def two(desk: Desk, kuma: Kuma) -> Iterator[Desk]:
    """A fresh repository, and a stale one that is told half a second later; both must have been pushed in the end."""
    tokens = {"fresh": kuma.add_monitor(), "stale": kuma.add_monitor()}
    desk.configure({"fresh": FRESH, "stale": f"sleep 0.3\n{STALE}"}, tokens, kuma.url)
    yield desk
    assert sorted(beat.status for beat in kuma.beats) == ["down", "up"]


@pytest.mark.parametrize(
    "command",
    [
        "m | head -0",
        "m | head -1",
        "m --format json | head -1",
        "m --format nagios | head -c 5",
        "m -vv 2>&1 | head -1",
        "m -v 2> >(head -0)",
        "m >&-",
        "m 2>&-",
        "m -vv >&- 2>&- <&-",
        "m -vv 2>/dev/full",
        "m | true",
    ],
)
def test_a_reader_that_goes_away_changes_neither_the_pushes_nor_the_status(two: Desk, command: str) -> None:
    done = shell(two, command)
    assert wait_for(two.folder / "status") == ("2" if "nagios" in command else "1")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("command", ["m >/dev/full", "m --format json >/dev/full", "m -vv >/dev/full"])
def test_a_full_disk_is_an_error_but_the_pushes_happen(two: Desk, command: str) -> None:
    done = shell(two, command)
    assert wait_for(two.folder / "status") == "70"
    assert done.stderr.endswith("restic-monitor: cannot write the output: no space left on device\n")
    assert "Traceback" not in done.stderr


def test_a_full_disk_makes_a_plugin_unknown(two: Desk) -> None:
    shell(two, "m --format nagios >/dev/full")
    assert wait_for(two.folder / "status") == "3"


def test_more_output_than_a_buffer_holds_fails_in_the_same_way(desk: Desk) -> None:
    desk.configure({f"repository-{number}": FRESH for number in range(60)})
    for command, status in (("m --format json >/dev/full", "70"), ("m --format json | head -1", "0")):
        (desk.folder / "status").unlink(missing_ok=True)
        done = shell(desk, command)
        assert wait_for(desk.folder / "status") == status
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "config show", "completion bash"])
@pytest.mark.parametrize(("where", "status"), [("| head -0", "0"), (">/dev/full", "70"), (">&-", "0"), ("2>&-", "0")])
def test_other_commands_bear_it_too(desk: Desk, command: str, where: str, status: str) -> None:
    desk.configure({"web": FRESH})
    call = f"m {command} {where}"
    if command == "completion bash":  # it takes no --config
        call = f"( {sys.executable} -m restic_monitor {command}; echo $? >{desk.folder}/status ) {where}"
    done = shell(desk, call)
    assert wait_for(desk.folder / "status") == status
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_errors_bear_a_closed_standard_error(desk: Desk) -> None:
    desk.configure({"web": FRESH})
    for command in ("m --nonsense 2>&-", "m run nobody 2>/dev/full", "m --nonsense 2> >(head -0)"):
        (desk.folder / "status").unlink(missing_ok=True)
        shell(desk, command)
        assert wait_for(desk.folder / "status") == "2"


def test_a_look_that_hangs_does_not_delay_the_end(desk: Desk) -> None:
    """restic has ended, but something that it left behind in a session of its own holds the pipe for ever."""
    left = desk.folder / "left"
    desk.configure({"web": f"setsid sh -c 'echo $$ >{left}; exec sleep 60' &\n{ASLEEP}"}, timeout="1s")
    began = time.monotonic()
    status, stdout, _ = Started(desk).end()
    assert time.monotonic() - began < 4
    assert (status, "UNREACHABLE no answer within 1s" in stdout) == (1, True)
    os.kill(int(wait_for(left)), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_children_of_config_check_too(desk: Desk, number: signal.Signals) -> None:
    desk.configure({"fresh": FRESH, "asleep": asleep(desk)}, jobs="1")
    started = Started(desk, "config", "check")
    pids = [int(pid) for pid in wait_for(desk.folder / "pids").split()]
    os.kill(started.process.pid, number)
    status, stdout, stderr = started.end()
    assert status == 128 + number
    assert "reach    ok       fresh: 1 snapshot" in stdout
    assert "reach    ok       asleep" not in stdout
    assert stderr == ""
    assert all(gone(pid) for pid in pids)
