"""Children that end well, end badly, or do not want to end: real processes, written in sh and Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from looks import is_alive, is_gone, reporting_restic, reports_of, script
from restic_monitor import process
from restic_monitor.process import Conversation, ConversationError, Ended

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def run(code: str, seconds: float = 20, stop_at: str = "never") -> Ended:
    return process.run(["sh", "-c", code], ENVIRONMENT, time.monotonic() + seconds, lambda line: stop_at in line)


def pids(folder: Path) -> dict[str, int]:
    """Files that processes have written their ids to, by name."""
    return {file.stem: int(file.read_text()) for file in folder.glob("*.pid")}


def wait_for(file: Path) -> None:
    end = time.monotonic() + 10
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, f"{file.name} did not come"
        time.sleep(0.01)


# An end of its own


@pytest.mark.parametrize("status", [0, 1, 12, 255])
def test_the_exit_status(status: int) -> None:
    assert run(f"exit {status}") == Ended("exit", status, b"", ())


def test_a_signal_is_a_negative_status() -> None:
    assert run("kill -9 $$") == Ended("exit", -9, b"", ())


def test_both_streams() -> None:
    assert run("printf 'one\\ntwo'; printf 'three\\r\\n\\nfour' >&2") == Ended("exit", 0, b"one\ntwo", ("three", "", "four"))


def test_much_on_both_streams_at_once_is_read_whole() -> None:
    code = "for i in 1 2 3 4; do head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo >&2; done"
    ended = run(code)
    assert (ended.why, ended.status, len(ended.stdout), sum(map(len, ended.stderr))) == ("exit", 0, 1_200_000, 1_200_000)


def test_standard_error_is_kept_from_its_beginning_and_its_end() -> None:
    lines = run("seq 1 100000 >&2").stderr
    assert lines == tuple(map(str, [*range(1, 1001), *range(99_001, 100_001)]))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = run("head -c 1000000 /dev/zero >&2").stderr
    assert sum(map(len, lines)) == 1_000_000
    assert max(map(len, lines)) < 200_000


def test_standard_error_that_is_not_utf_8() -> None:
    assert run("printf 'caf\\351\\n' >&2").stderr == ("caf\ufffd",)


def test_closed_streams_are_not_the_end() -> None:
    assert run("exec >&- 2>&-; sleep 0.2; exit 3") == Ended("exit", 3, b"", ())


def test_many_at_once_and_nothing_is_lost() -> None:
    with ThreadPoolExecutor(16) as pool:
        everything = list(
            pool.map(lambda number: run(f"head -c 200000 /dev/zero; echo {number} >&2; exit {number}"), range(96))
        )
    assert [(ended.status, len(ended.stdout), ended.stderr) for ended in everything] == [
        (number, 200_000, (str(number),)) for number in range(96)
    ]


def test_nothing_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    run("exit 0")
    run("sleep 60", seconds=0.05)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.slow
def test_half_a_gigabyte_of_output_is_too_much() -> None:
    assert run("cat /dev/zero") == Ended("too long", None, b"", ())


def test_what_cannot_be_started_is_an_oserror(tmp_path: Path) -> None:
    for path, error in [(tmp_path / "nothing", FileNotFoundError), (tmp_path, PermissionError)]:
        with pytest.raises(error):
            process.run([str(path)], ENVIRONMENT, time.monotonic() + 5)


def test_the_program_is_looked_up_in_the_childs_path(tmp_path: Path) -> None:
    script(tmp_path / "restic-of-mine", "#!/bin/sh\necho mine\n")
    assert process.run(["restic-of-mine"], {"PATH": str(tmp_path)}, time.monotonic() + 5).stdout == b"mine\n"


# What a child finds


def test_a_child_has_no_terminal_an_empty_stdin_and_a_session_of_its_own(tmp_path: Path) -> None:
    """Asked below a terminal: there, ssh or restic would ask for a password on /dev/tty and wait for ever."""
    program = reporting_restic(tmp_path / "restic")
    inner = f"""
        import os, time
        from restic_monitor import process
        os.close(os.open("/dev/tty", os.O_RDWR))
        os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
        ended = process.run([{str(program)!r}], {ENVIRONMENT!r}, time.monotonic() + 10)
        assert (ended.why, ended.status) == ("exit", 0), ended
    """
    outer = f"import pty, sys; sys.exit(pty.spawn([{sys.executable!r}, '-c', {textwrap.dedent(inner)!r}]))"
    with python(outer) as below:
        stdout, stderr = below.communicate(timeout=20)
    assert below.returncode == 0, stdout + stderr
    (report,) = reports_of(program)
    assert (report["terminal"], report["stdin"], report["leads"]) == (False, "", [True, True])
    assert report["files"] == ["0", "1", "2"]


# The deadline


def test_a_child_ends_at_its_deadline() -> None:
    began = time.monotonic()
    ended = run("echo half; echo working >&2; exec sleep 60", seconds=0.3)
    assert ended == Ended("deadline", None, b"", ("working",))
    assert 0.3 <= time.monotonic() - began < 1.3


def test_a_deadline_that_has_passed() -> None:
    assert run("sleep 60", seconds=-1).why == "deadline"


def test_a_child_may_clean_up_and_say_goodbye_at_length(tmp_path: Path) -> None:
    goodbye = f"head -c 300000 /dev/zero >&2; touch {tmp_path}/clean; exit 0"
    assert run(f"trap '{goodbye}' TERM; while :; do sleep 0.02; done", seconds=0.5).why == "deadline"
    assert (tmp_path / "clean").exists()


STUBBORN = """
import os, signal, subprocess, sys, time
folder = sys.argv[1]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def note(name, pid):
    with open(f"{folder}/{name}.pid", "w") as file:
        file.write(str(pid))
note("child", os.getpid())
note("same-group", subprocess.Popen(["sleep", "60"]).pid)
note("own-group", subprocess.Popen(["sleep", "60"], process_group=0).pid)
note("grandchild", int(subprocess.check_output(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"])))
number = 0
while True:
    number += 1
    print(f"Stat(<config/>) returned error, retrying after {number}s: dial tcp: i/o timeout", file=sys.stderr, flush=True)
    time.sleep(0.05)
"""


def test_a_child_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """Its group, and groups of their own in its session: restic 0.19 starts ssh and rclone in such ones."""
    began = time.monotonic()
    ended = process.run([sys.executable, "-c", STUBBORN, str(tmp_path)], ENVIRONMENT, began + 1.5)
    assert time.monotonic() - began < 1.5 + 1.0
    assert (ended.why, ended.status) == ("deadline", None)
    assert ended.stderr[-1].endswith("i/o timeout")
    assert sorted(pids(tmp_path)) == ["child", "grandchild", "own-group", "same-group"]
    assert [name for name, pid in pids(tmp_path).items() if not is_gone(pid)] == []


def test_a_flood_on_standard_error_does_not_move_the_deadline() -> None:
    began = time.monotonic()
    assert run("exec yes flood >&2", seconds=0.5).why == "deadline"
    assert time.monotonic() - began < 1.5


# What it leaves running


def test_a_grandchild_that_escaped_with_the_streams_does_not_hold_up_the_answer(tmp_path: Path) -> None:
    """As an agent does that a password command starts."""
    began = time.monotonic()
    ended = run(f"setsid sh -c 'echo $$ >{tmp_path}/agent.pid; exec sleep 20' & echo '[]'; echo note >&2; exit 0")
    took = time.monotonic() - began
    wait_for(tmp_path / "agent.pid")
    os.kill(pids(tmp_path)["agent"], signal.SIGKILL)
    assert ended == Ended("exit", 0, b"[]\n", ("note",))
    assert took < 2


def test_a_grandchild_may_finish_its_sentence() -> None:
    """As `restic > >(tee log)` in a script: the shell is gone before its tee has written."""
    assert run("(sleep 0.1; echo '[]') & exit 0").stdout == b"[]\n"


def test_an_end_close_to_the_deadline_counts_though_the_streams_are_held() -> None:
    assert run("sleep 20 & sleep 0.7; echo '[]'", seconds=1.1) == Ended("exit", 0, b"[]\n", ())


def test_what_is_left_in_the_group_ends_with_the_child(tmp_path: Path) -> None:
    run(f"sleep 60 >/dev/null 2>&1 & echo $! >{tmp_path}/left.pid")
    assert is_gone(pids(tmp_path)["left"])


# stop_when


def test_a_line_can_end_it_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = run(f"echo $$ >{tmp_path}/child.pid; echo good >&2; echo hopeless case >&2; exec sleep 60", stop_at="hopeless")
    assert (ended.why, ended.status, ended.stderr) == ("stopped", None, ("good", "hopeless case"))
    assert time.monotonic() - began < 2
    assert is_gone(pids(tmp_path)["child"])


def test_a_line_that_comes_in_pieces_is_one_line() -> None:
    assert run("printf hope >&2; sleep 0.1; printf 'less\\n' >&2; exec sleep 60", stop_at="hopeless").why == "stopped"


def test_a_line_among_many_is_not_overlooked() -> None:
    assert run("seq 1 5000 >&2; echo hopeless >&2; seq 1 5000 >&2; exec sleep 60", stop_at="hopeless").why == "stopped"


# The end of the program


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A program of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def test_end_all_ends_every_child_and_starts_no_more(tmp_path: Path) -> None:
    """For the rest of the program, therefore in one of its own."""
    code = """
        import os, sys, threading, time
        from restic_monitor import process
        endings = []
        def run(name):
            sh = f"trap '' TERM; echo $$ >{sys.argv[1]}/{name}.pid; while :; do sleep 1; done"
            endings.append(process.run(["sh", "-c", sh], dict(os.environ), time.monotonic() + 60).why)
        for name in "abc":
            threading.Thread(target=run, args=(name,), daemon=True).start()
        sys.stdin.readline()
        began = time.monotonic()
        process.end_all()
        took = time.monotonic() - began
        try:
            run("d")
        except OSError as error:
            print(error)
        process.end_all()
        print(sorted(endings), took < 2, flush=True)
        os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        for name in "abc":
            wait_for(tmp_path / f"{name}.pid")
        stdout, _ = program.communicate("\n", timeout=20)
    assert stdout.splitlines() == ["the program is ending", "['interrupted', 'interrupted', 'interrupted'] True"]
    assert sorted(pids(tmp_path)) == ["a", "b", "c"]
    assert not any(map(is_alive, pids(tmp_path).values()))


def test_ctrl_c_in_the_thread_that_waits_ends_the_child(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from restic_monitor import process
        sh = f"echo $$ >{sys.argv[1]}/child.pid; echo ready >&2; exec sleep 60"
        process.run(["sh", "-c", sh], dict(os.environ), time.monotonic() + 60, lambda line: print(line, flush=True))
    """
    with python(code, str(tmp_path)) as program:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        _, stderr = program.communicate(timeout=20)
    assert "KeyboardInterrupt" in stderr
    assert is_gone(pids(tmp_path)["child"])


def test_children_end_also_where_the_kernel_reaps_them() -> None:
    """Who starts us may ignore SIGCHLD, and that is inherited."""
    code = """
        import os, signal, time
        from restic_monitor import process
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print(process.run(["echo", "[]"], dict(os.environ), time.monotonic() + 20).stdout)
        print(process.run(["sleep", "60"], dict(os.environ), time.monotonic() + 0.2).why)
    """
    with python(code) as program:
        stdout, stderr = program.communicate(timeout=20)
    assert (stdout.splitlines(), stderr) == (["b'[]\\n'", "deadline"], "")


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    run("sleep 60", seconds=0.05)
    assert set(threading.enumerate()) <= before


# A conversation


def talk(code: str) -> Conversation:
    return Conversation(["sh", "-c", code], ENVIRONMENT)


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def end_of(conversation: Conversation, count: int = 1, seconds: float = 10) -> Ended:
    """How it ended instead of saying `count` more bytes."""
    with pytest.raises(ConversationError) as error:
        conversation.read(count, soon(seconds))
    return error.value.ended


def test_a_child_that_is_asked_and_answers() -> None:
    child = talk("while read word; do printf '<%s>' \"$word\"; done")
    child.write(b"one\n", soon())
    assert child.read(5, soon()) == b"<one>"
    child.write(b"two\nthree\n", soon())
    assert (child.read(2, soon()), child.read(5, soon()), child.read(5, soon())) == (b"<t", b"wo><t", b"hree>")
    child.close()


def test_an_answer_in_pieces_is_waited_for() -> None:
    child = talk("for i in 1 2 3 4; do printf $i; sleep 0.1; done; sleep 60")
    assert child.read(4, soon()) == b"1234"
    child.close()


def test_what_came_ahead_can_be_looked_at() -> None:
    child = talk("printf 'Welcome!'; sleep 60")
    assert child.read(3, soon()) == b"Wel"
    assert child.ahead == b"come!"
    child.close()


def test_more_than_a_pipe_holds_both_ways() -> None:
    child = talk("head -c 500000 >/dev/null; head -c 500000 /dev/zero")
    child.write(bytes(500_000), soon())
    assert child.read(500_000, soon()) == bytes(500_000)
    child.close()


def test_a_child_that_ends_early_says_why() -> None:
    child = talk("printf ab; echo 'no such host' >&2; exit 3")
    assert end_of(child, 3) == Ended("exit", 3, b"ab", ("no such host",))
    with pytest.raises(ConversationError):
        child.write(b"still there?", soon())


def test_a_child_that_ends_while_it_is_written_to_says_why() -> None:
    child = talk("exec <&-; echo 'not today' >&2; exit 4")
    with pytest.raises(ConversationError) as error:
        child.write(bytes(1_000_000), soon())
    assert error.value.ended == Ended("exit", 4, b"", ("not today",))


def test_a_child_that_only_closes_its_output_has_no_status(tmp_path: Path) -> None:
    child = talk(f"echo $$ >{tmp_path}/child.pid; exec >&-; sleep 60")
    assert end_of(child) == Ended("exit", None, b"", ())
    assert is_gone(pids(tmp_path)["child"])


@pytest.mark.parametrize("code", ["exec sleep 60", "while :; do printf x; sleep 0.1; done", "yes >&2; exit"])
def test_a_conversation_ends_at_its_deadline(code: str) -> None:
    """Also one that drips, and one that floods us with what was not asked for."""
    began = time.monotonic()
    ended = end_of(talk(code), 1_000, 0.4)
    assert (ended.why, ended.status) == ("deadline", None)
    assert 0.4 <= time.monotonic() - began < 1.4


def test_a_child_that_does_not_read_ends_at_the_deadline_too() -> None:
    with pytest.raises(ConversationError) as error:
        talk("exec sleep 60").write(bytes(1_000_000), soon(0.4))
    assert error.value.ended.why == "deadline"


def test_a_child_that_talks_instead_of_reading_does_not_fill_the_memory() -> None:
    with pytest.raises(ConversationError) as error:
        talk("exec yes").write(bytes(1_000_000), soon())
    assert error.value.ended.why == "too long"
    assert len(error.value.ended.stdout) < 2_000_000


def test_after_its_end_a_conversation_has_nothing_more_to_say() -> None:
    child = talk("exit 5")
    assert end_of(child) == end_of(child) == Ended("exit", 5, b"", ())
    child.close()
    child.close()


def test_closing_lets_a_child_say_goodbye(tmp_path: Path) -> None:
    child = talk(f"cat >/dev/null; touch {tmp_path}/polite; exit 0")
    child.close()
    assert (tmp_path / "polite").exists()


def test_closing_ends_a_child_that_does_not_want_to_with_all_it_started(tmp_path: Path) -> None:
    child = Conversation([sys.executable, "-c", STUBBORN, str(tmp_path)], ENVIRONMENT)
    wait_for(tmp_path / "grandchild.pid")
    began = time.monotonic()
    child.close()
    assert time.monotonic() - began < 2
    assert sorted(pids(tmp_path)) == ["child", "grandchild", "own-group", "same-group"]
    assert [name for name, pid in pids(tmp_path).items() if not is_gone(pid)] == []


def test_a_conversation_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    talk("cat").close()
    end_of(talk("exit 1"))
    with pytest.raises(FileNotFoundError):
        Conversation(["/nothing/of/this/name"], ENVIRONMENT)
    assert os.listdir("/proc/self/fd") == before


def test_a_child_that_is_talked_to_has_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid(), flush=True)"
    child = Conversation([sys.executable, "-c", code], ENVIRONMENT)
    assert child.read(5, soon()) == b"True\n"
    child.close()


def test_end_all_ends_conversations_that_nobody_waits_for_and_those_that_somebody_does(tmp_path: Path) -> None:
    code = """
        import os, sys, threading, time
        from restic_monitor import process
        def say(word):
            os.write(1, f"{word}\\n".encode())  # in one piece: two threads speak
        def start(name):
            sh = f"echo $$ >{sys.argv[1]}/{name}.pid; printf ready; exec sleep 60"
            child = process.Conversation(["sh", "-c", sh], dict(os.environ))
            child.read(5, time.monotonic() + 20)
            return child
        def wait(child):
            try:
                child.read(1, time.monotonic() + 60)
            except process.ConversationError as error:
                say(error.ended.why)
        idle, busy = start("idle"), start("busy")
        waiting = threading.Thread(target=wait, args=(busy,))
        waiting.start()
        began = time.monotonic()
        process.end_all()
        say(time.monotonic() - began < 2)
        waiting.join()
        wait(idle)
        try:
            start("late")
        except OSError as error:
            say(error)
        os._exit(0)
    """
    with python(code, str(tmp_path)) as program:
        stdout, stderr = program.communicate(timeout=20)
    assert sorted(stdout.splitlines()) == ["True", "exit", "interrupted", "the program is ending"], stderr
    assert sorted(pids(tmp_path)) == ["busy", "idle"]
    assert not any(map(is_alive, pids(tmp_path).values()))


# Words of a command


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("foo", ["foo"]),
        ("'foo'", ["foo"]),
        ("foo bar baz", ["foo", "bar", "baz"]),
        ("foo 'bar' baz", ["foo", "bar", "baz"]),
        ("'bar box' baz", ["bar box", "baz"]),
        ("\"bar 'box'\" baz", ["bar 'box'", "baz"]),
        ("'bar \"box\"' baz", ['bar "box"', "baz"]),
        ('\\"bar box baz', ['"bar', "box", "baz"]),
        ('"bar/foo/x" "box baz"', ["bar/foo/x", "box baz"]),
        ('a"b c"d', ["a", "b c", "d"]),
        ("  a\t b\n", ["a", "b"]),
        ("a\\b", ["a", "b"]),
        ("'' a", ["a"]),
        ("", []),
    ],
)
def test_a_command_is_split_as_restic_splits_it(command: str, words: list[str]) -> None:
    """The first nine are TestShellSplitter in restic's internal/backend/shell_split_test.go."""
    assert process.split(command) == words


@pytest.mark.parametrize(("command", "kind"), [("foo'", "single"), ('foo"', "double"), ("foo 'bar", "single")])
def test_a_quote_that_is_not_closed(command: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"a {kind} quote is not closed"):
        process.split(command)
