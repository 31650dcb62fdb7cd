"""The hunt of test_secrets_stay_hidden.py where we read repositories ourselves: passwords, keys, and what is remembered."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Completed, Run
from kuma import Kuma
from repositories import MASTER, Written, key_file, lock, snapshot, write_repository

NOW = datetime.now(UTC)
KEYS = {"whole": MASTER, "encrypt": MASTER[:32], "k": MASTER[32:48], "r": MASTER[48:]}
CANARY = "canary"


def shapes() -> list[bytes]:
    """The keys as they are, in base64 and in hex."""
    return [form for key in KEYS.values() for form in (key, base64.b64encode(key), key.hex().encode())]


def hidden(content: bytes) -> bool:
    return CANARY.encode() not in content and not any(form in content for form in shapes())


@dataclass
class Hunt:
    run: Run
    folder: Path
    config: Path
    before: set[Path]

    def __call__(self, *arguments: str) -> Completed:
        done = self.run("-c", self.config, *arguments, env={"VARIABLE": f"{CANARY}-variable"})
        assert hidden(done.stdout.encode()), done.stdout
        assert hidden(done.stderr.encode()), done.stderr
        return done

    def written(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path not in self.before]


@pytest.fixture
def hunt(run: Run, kuma: Kuma, tmp_path: Path) -> Iterator[Hunt]:
    """A repository for each way in which a password comes and in which opening fails."""

    def file(name: str, content: str) -> str:
        (tmp_path / f"{name}.text").write_text(content)
        (tmp_path / f"{name}.text").chmod(0o600)
        return str(tmp_path / f"{name}.text")

    def made(name: str, password: str) -> tuple[Written, dict[str, Any]]:
        token = f"token-of-{name}"
        kuma.tokens.add(token)
        written = write_repository(tmp_path / name, [snapshot(NOW)], password=password)
        repositories[name] = {"url": str(written.path), "push_token": token}
        return written, repositories[name]

    repositories: dict[str, dict[str, Any]] = {}
    written, block = made("good", f"{CANARY}-value")
    written.add_lock(lock(NOW - timedelta(hours=3), exclusive=True), at=NOW - timedelta(hours=3))
    block["password"] = written.password
    written, block = made("file", f"{CANARY}-file")
    block["password_file"] = file("password", written.password)
    written, block = made("command", f"{CANARY}-command")
    block["password_command"] = f"cat {file('said', written.password)}"
    written, block = made("variable", f"{CANARY}-variable")
    block["password"] = {"from_env": "VARIABLE"}

    made("wrong", "another")[1]["password"] = f"{CANARY}-wrong"
    failing = file("failing", f"echo {CANARY}-on-stdout; exit 3")
    made("failing", "another")[1]["password_command"] = f"sh {failing}"
    written, block = made("expensive", f"{CANARY}-expensive")
    block["password"] = written.password
    for key in (written.path / "keys").iterdir():
        key.unlink()
    written.add_key({**key_file(written.password), "N": 1 << 40})
    written, block = made("no-key", f"{CANARY}-no-key")
    block["password"] = written.password
    for key in (written.path / "keys").iterdir():
        key.write_bytes(key.read_bytes()[:-40])
    written, block = made("forged", f"{CANARY}-forged")
    block["password"] = written.password
    written.add("snapshots", f"{CANARY} in the clear, which is no seal".encode() * 3)
    written.add("snapshots", written.sealer.seal(b'{"time": "' + CANARY.encode() + b'"}'))

    document = {"defaults": {"mode": "native", "push_url": kuma.url}, "repositories": repositories}
    config = Path(file("config", json.dumps(document)))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    yield Hunt(run, tmp_path, config, before)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in before:
            assert hidden(path.read_bytes()), path


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-vv"],
        ["run", "-vv", "--format", "json"],
        ["run", "--no-state", "--no-push", "-vv"],
        ["config", "check", "-vv"],
        ["config", "show", "-vv"],
        ["groups", "good", "-vv"],
    ],
    ids=" ".join,
)
def test_no_password_and_no_key_is_shown(hunt: Hunt, arguments: list[str]) -> None:
    hunt(*arguments)


def test_what_is_hidden_was_used(hunt: Hunt, kuma: Kuma) -> None:
    """Else the hunt would mean nothing; and neither heartbeats nor the state hold any of it."""
    done = hunt("run", "--format", "json")
    results = {each["name"]: each for each in json.loads(done.stdout)["results"]}
    assert {name: (each["status"], each["source"]) for name, each in results.items()} == {
        "good": ("warn", "native"),
        **dict.fromkeys(("file", "command", "variable"), ("up", "native")),
        **dict.fromkeys(("wrong", "failing", "expensive", "no-key"), ("unknown", "native")),
        "forged": ("down", "native"),
    }
    assert "exit status 3" in results["failing"]["message"]
    assert "wrong password or no key" in results["wrong"]["message"]
    assert "2 snapshot files are damaged" in results["forged"]["message"]
    assert len(kuma.beats) == len(results)
    assert all(hidden(beat.path.encode()) and hidden(beat.msg.encode()) for beat in kuma.beats)
    assert any(path.name == "state.sqlite" and b"web1" in path.read_bytes() + _log_of(path) for path in hunt.written())


def _log_of(database: Path) -> bytes:
    log = database.with_name(f"{database.name}-wal")
    return log.read_bytes() if log.exists() else b""
