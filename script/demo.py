"""The main job on throw-away things: a fresh, a stale and an unreachable repository, and a stand-in for Uptime Kuma.

Run by script/demo. Standard library, the installed program and a restic >= 0.14; everything is in a temporary folder that
is gone afterwards. Ends with 0 only when the program did what it should.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from kuma import Beat, Kuma

EXPECTED = {"web-server": ("up", "OK "), "db-server": ("down", "STALE "), "offsite": ("down", "UNREACHABLE ")}
EXIT_STATUS = 1
DAY_SECONDS = 86_400
LIMIT_SECONDS = 60
KEPT = ("PATH", "TMPDIR", "TERM", "COLORTERM", "COLUMNS", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE")


class DemoError(Exception):
    """A sentence for the user."""


def main() -> None:
    program, restic = find("restic-monitor", Path(sys.executable).parent), find("restic")
    with tempfile.TemporaryDirectory(prefix="restic-monitor-demo-") as name, Kuma() as kuma, closed_port() as port:
        folder = Path(name)
        # a home of its own, and no variable of the user's restic, proxies or clouds
        environment = {key: os.environ[key] for key in KEPT if key in os.environ} | {"HOME": name}
        say(f"Two repositories, made with {version(restic, environment)}: web-server was backed up just now,")
        print("db-server three days ago. A third one, offsite, is on a server that does not answer.")
        make_repositories(restic, folder, environment)
        tokens = {name: kuma.add_monitor() for name in EXPECTED}
        file = write_configuration(folder, kuma.url, port, tokens)
        say("The configuration:")
        print(textwrap.indent(file.read_text(), "    "), end="")
        say(f"$ restic-monitor --config {file}")
        status = run([program, "--config", str(file)], environment)
        print(f"(exit status {status})")
        say("What Uptime Kuma received:")
        beats = {name: [beat for beat in kuma.beats if beat.token == token] for name, token in tokens.items()}
        show(beats)
        judge(status, beats)
    say("As it should be. Now with your own repositories: README.md, five minutes.")


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def find(program: str, *folders: Path) -> str:
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    if found := shutil.which(program, path=path):
        return found
    raise DemoError(f"{program} is not here; script/demo gets everything that is needed")


def version(restic: str, environment: Mapping[str, str]) -> str:
    """Such as "restic 0.18.0"."""
    return " ".join(output([restic, "version"], environment).split()[:2])


def output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    except subprocess.CalledProcessError as error:
        raise DemoError(f"{' '.join(command)} ended with {error.returncode}:\n{error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{' '.join(command)}: {error}") from error
    return done.stdout


def make_repositories(restic: str, folder: Path, environment: Mapping[str, str]) -> None:
    """`restic init` takes a few seconds, to make guessing the password slow: the second repository is a copy."""
    password, data = folder / "password", folder / "index.html"
    password.write_text("throw-away\n")
    data.write_text("<h1>It works!</h1>\n")
    first, second = folder / "web-server", folder / "db-server"
    common = [restic, "--no-cache", "--password-file", str(password), "--repo"]
    output([*common, str(first), "init"], environment)
    shutil.copytree(first, second)
    three_days_ago = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - 3 * DAY_SECONDS))
    for repository, when in ((first, []), (second, ["--time", three_days_ago])):
        backup = [*common, str(repository), "backup", "--host", repository.name, *when, str(data)]
        output(backup, {**environment, "TZ": "UTC"})  # --time is local time


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can take: bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def write_configuration(folder: Path, kuma_url: str, port: int, tokens: Mapping[str, str]) -> Path:
    file = folder / "config.yaml"
    file.touch(0o600)
    file.write_text(
        f"""\
defaults:
  url: "{folder}/{{{{ .Name }}}}"
  max_age: 26h
  push_url: {kuma_url}/api/push/
  password_file: password
repositories:
  web-server:
    push_token: {tokens["web-server"]}
  db-server:
    push_token: {tokens["db-server"]}
  offsite:
    url: rest:http://127.0.0.1:{port}/
    timeout: 3s
    push_token: {tokens["offsite"]}
"""
    )
    return file


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """With our own standard output, so that a terminal gets the live table and its colours."""
    try:
        return subprocess.run(command, env=environment, check=False, timeout=LIMIT_SECONDS).returncode
    except subprocess.TimeoutExpired:
        raise DemoError(f"restic-monitor did not end within {LIMIT_SECONDS} s") from None


def show(beats: Mapping[str, Sequence[Beat]]) -> None:
    print(f"  {'monitor':10}  {'status':6}  {'ping':>7}  msg")
    for name, received in beats.items():
        for beat in received:
            print(f"  {name:10}  {beat.status:6}  {beat.ping or 0:>4.0f} ms  {beat.msg}")


def judge(status: int, beats: Mapping[str, Sequence[Beat]]) -> None:
    for name, (word, beginning) in EXPECTED.items():
        found = [(beat.status, beat.msg) for beat in beats[name]]
        if len(found) != 1 or found[0][0] != word or not found[0][1].startswith(beginning):
            raise DemoError(f'{name} should have got one heartbeat, {word} with "{beginning}…", and got {found or "none"}')
    if status != EXIT_STATUS:
        raise DemoError(f"the exit status should have been {EXIT_STATUS} (something is down), and was {status}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the temporary folder goes then, too
    try:
        main()
    except DemoError as error:
        sys.exit(f"\ndemo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
