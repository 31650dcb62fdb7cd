"""Configurations as texts: what the program makes of one, and the sentences it says about it.

Each is written to `config.yaml` in a folder of its own; in the sentences that folder's path is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from restic_monitor.config import find, reader
from restic_monitor.config.build import Builder
from restic_monitor.errors import ConfigError
from restic_monitor.model import Receiver, Repository
from restic_monitor.probes.restic import Restic
from restic_monitor.receivers.uptime_kuma import UptimeKuma

SEED = """\
defaults:
  url: "s3:https://s3.example.com/restic-{{ .Name }}"
  max_age: 1d
  push_url: https://uptime-kuma.example.com/api/push/
  extra_env:
    AWS_ACCESS_KEY_ID: "your-key-id"
    AWS_SECRET_ACCESS_KEY: "your-secret"
repositories:
  web-server:
    push_token: yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6
  db-server:
    push_token: ap2F52Qjmup9dxyPcWa1eNt125AukcrV
    max_age: 6h
"""
"""The file of the Go tool's users, which must work as it is."""


def write(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def builder(folder: Path, text: str, env: Mapping[str, str] | None = None, environment_file: Path | None = None) -> Builder:
    """With a password restic looks, unless the text or the environment names a mode."""
    layers = find.environment_layers(env or {}, str(environment_file) if environment_file else None)
    named = "mode:" in text or "RESTIC_MONITOR_FAST" in (env or {})
    password = "password" in text or "PASSWORD" in text or any("PASSWORD" in name for name in env or {}) or environment_file
    return Builder(reader.read(write(folder, text)), layers, "restic" if password and not named else None)


def build(folder: Path, text: str, env: Mapping[str, str] | None = None, names: Sequence[str] = ()) -> dict[str, Repository]:
    """The repositories by name. Raises ConfigError."""
    return {repository.name: repository for repository in builder(folder, text, env).repositories(names)}


def problems(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Every sentence about the file and the secrets it needs, without `config.yaml, `."""
    try:
        build(folder, text, env)
    except ConfigError as error:
        return [line.replace(f"{folder}/", "").removeprefix("config.yaml, ") for line in error.problems]
    return []


def restic(repository: Repository) -> Restic:
    assert isinstance(repository.probe, Restic)
    return repository.probe


def push_address(repository: Repository) -> str | None:
    """Where the repository's result is sent, token included; None when it is not."""
    return _address(repository.watch.receivers)


def push_addresses(repository: Repository) -> dict[str, str | None]:
    """The same for each line that is told of by itself."""
    return {name: _address(receivers) for name, receivers in repository.watch.tell.items()}


def _address(receivers: Sequence[Receiver]) -> str | None:
    for receiver in receivers:
        assert isinstance(receiver, UptimeKuma)
        return receiver.address.origin + receiver.address.path
    return None
