"""NixOS configurations evaluated by a real Nix, without nixpkgs: packaging/nix/tests/nixpkgs stands in for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restics import CHECKOUT

NIX = CHECKOUT / "packaging" / "nix"
STUB = NIX / "tests" / "nixpkgs"
STORE = "/nix/store"


@dataclass(frozen=True)
class Nix:
    """`folder` has its store and all else that it writes."""

    folder: Path

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        names = {"STORE": "store", "STATE": "var", "LOCALSTATE": "var", "LOG": "log", "CONF": "etc"}
        environment = {f"NIX_{name}_DIR": str(self.folder / place) for name, place in names.items()}
        environment |= {f"XDG_{name}_HOME": str(self.folder / "home") for name in ("CACHE", "CONFIG", "DATA", "STATE")}
        settings = (
            "experimental-features = nix-command flakes",
            "build-users-group =",
            "sandbox = false",
            "substitute = false",
        )
        environment |= {"HOME": str(self.folder / "home"), "PATH": os.environ["PATH"], "NIX_CONFIG": "\n".join(settings)}
        return subprocess.run(list(map(str, argv)), capture_output=True, text=True, env=environment, check=False, timeout=60)

    def does(self, *argv: str | Path) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def evaluates(self, expression: str) -> Any:
        """What JSON can show of it. Nothing is written: a store that is none, and its paths begin with STORE."""
        return json.loads(self.does(*self._evaluation(expression)))

    def refuses(self, expression: str) -> str:
        """The sentence with which it does not evaluate it."""
        done = self.run(*self._evaluation(expression))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _evaluation(self, expression: str) -> Sequence[str]:
        pure = ("--option", "store", "dummy://", "--eval", "--strict", "--json")
        return ("env", "-u", "NIX_STORE_DIR", "nix-instantiate", *pure, "--expr", expression)

    def flake(self, *command: str, flake: str, **inputs: Path) -> str:
        """A command on a flake, as a user gives it, with folders instead of inputs from elsewhere."""
        overrides = [word for name, folder in inputs.items() for word in ("--override-input", name, f"path:{folder}")]
        return self.does("nix", *command, flake, "--offline", "--no-write-lock-file", *overrides)


@dataclass(frozen=True)
class Machine:
    """A NixOS configuration, evaluated."""

    values: Mapping[str, Any]

    @property
    def service(self) -> Mapping[str, Any]:
        return dict(self.values["services"]["restic-monitor"])

    @property
    def unit(self) -> Mapping[str, Any]:
        """[Service]"""
        return dict(self.service["serviceConfig"])

    @property
    def timer(self) -> Mapping[str, Any]:
        """[Timer]"""
        return dict(self.values["timers"]["restic-monitor"]["timerConfig"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the program is given; needs `checkConfig = false`."""
        return dict(self.values["settings"])

    @property
    def failed(self) -> Sequence[str]:
        return list(self.values["failed"])

    @property
    def warnings(self) -> Sequence[str]:
        return list(self.values["warnings"])


def modules(*text: str) -> str:
    listed = " ".join(f"({module})" for module in text)
    return f"import {NIX}/tests/evaluate.nix {{ modules = [ {listed} ]; }}"


def service(options: str) -> str:
    return f"{{ services.restic-monitor = {{ enable = true; checkConfig = false; {options} }}; }}"


def machine(nix: Nix, options: str, *others: str) -> Machine:
    """With these options of services.restic-monitor, and other modules."""
    return Machine(nix.evaluates(modules(service(options), *others)))


ONE = 'settings.repositories.web-server.url = "/srv/backup";'


def unit_text(machine: Machine) -> str:
    """The service, as nixpkgs writes it (nixos/lib/systemd-lib.nix)."""
    service = machine.service
    lines = ["[Unit]", f"Description={service['description']}"]
    lines += [
        f"{name}={' '.join(values)}"
        for name, values in {
            "Documentation": service["documentation"],
            "Wants": service["wants"],
            "After": service["after"],
            "OnFailure": service["onFailure"],
        }.items()
        if values
    ]
    lines += ["", "[Service]"]
    environment = {"PATH": ":".join(f"{package}/bin" for package in service["path"]), **service["environment"]}
    lines += [f"Environment={json.dumps(f'{name}={value}')}" for name, value in environment.items()]
    lines += ["X-RestartIfChanged=false"] if not service["restartIfChanged"] else []
    return "\n".join([*lines, *section(machine.unit), ""])


def timer_text(machine: Machine) -> str:
    timer = machine.values["timers"]["restic-monitor"]
    wanted = [f"WantedBy={' '.join(timer['wantedBy'])}"]
    about = [f"Description={timer['description']}", f"Documentation={' '.join(timer['documentation'])}"]
    lines = ["[Unit]", *about, "", "[Timer]", *section(machine.timer), "", "[Install]", *wanted]
    return "\n".join([*lines, ""])


def section(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            yield f"{name}={str(each).lower() if isinstance(each, bool) else each}"


def parsed(text: str) -> dict[str, dict[str, list[str]]]:
    """A unit file: section, key, values in order."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            keys = found.setdefault(heading[1], {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            keys.setdefault(name, []).append({"true": "yes", "false": "no"}.get(value, value))
    return found
