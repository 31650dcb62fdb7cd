"""What systemd hands over: files below $CREDENTIALS_DIRECTORY, and what they are called."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Completed, Run, Unprivileged
from looks import fake_restic, reporting_restic, reports_of
from restics import VERSIONS, require

TOKEN = "T0kenOfTheMonitor"


@dataclass
class Service:
    """The program as its unit starts it: `handed` are the files, each by its original path."""

    run: Run
    folder: Path

    @property
    def etc(self) -> Path:
        return self.folder / "etc of the machine"

    def hand(self, name: str, text: str, original: Path | None = None) -> Path:
        """A credential; with `original` it is in the list."""
        place = self.folder / "credentials" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        if original:
            self.listed.append(f"{name}:{original}")
        return place

    def __post_init__(self) -> None:
        self.listed: list[str] = []
        self.etc.mkdir()

    def __call__(self, *arguments: str | Path, **environment: str) -> Completed:
        variables = {
            "CREDENTIALS_DIRECTORY": str(self.folder / "credentials"),
            "RESTIC_MONITOR_CREDENTIALS": " ".join(map(shlex.quote, self.listed)),
        }
        config = self.folder / "credentials" / "config.yaml"
        return self.run(*arguments, "--config", config, env={**variables, **environment})


@pytest.fixture
def service(run: Run, tmp_path: Path) -> Service:
    return Service(run, tmp_path)


def test_messages_name_the_file_that_the_configuration_came_from(service: Service) -> None:
    original = service.etc / "config.yaml"
    service.hand("config.yaml", "repositories:\n  web: {url: /srv, max_aeg: 1d}\n", original)
    done = service("config", "check", "--no-secrets")
    assert (done.returncode, done.stderr) == (
        2,
        f"restic-monitor: {original}, line 2: repositories.web.max_aeg: unknown key; did you mean max_age?\n",
    )
    assert "credentials" not in done.stdout + done.stderr


def test_a_configuration_that_was_not_handed_over_is_named_by_where_it_came_from(service: Service) -> None:
    service.listed.append(f"config.yaml:{service.etc / 'config.yaml'}")
    done = service()
    assert done.returncode == 2
    assert f"cannot read {service.etc / 'config.yaml'}: no such file or directory" in done.stderr


def test_relative_paths_start_where_the_configuration_came_from(service: Service) -> None:
    (service.etc / "password").write_text("p")
    service.hand("config.yaml", "repositories:\n  web: {url: /srv, password_file: password}\n", service.etc / "config.yaml")
    assert service("config", "check", "--no-network", PATH=_path_with_restic()).stderr == ""
    (service.etc / "password").unlink()
    missing = service("config", "check", "--no-network")
    assert f"cannot read {service.etc / 'password'}: no such file or directory" in missing.stderr


def test_a_file_that_the_configuration_names_is_read_from_its_credential(service: Service) -> None:
    """The originals need not even be readable: they are not there."""
    text = f"""
defaults:
  restic: {reporting_restic(service.folder / "restic")}
  mode: restic
repositories:
  web:
    url: {{from_file: "{service.etc}/the url"}}
    password_file: "{service.etc}/a 'password'"
    cacert: ca.pem
"""
    service.hand("config.yaml", text, service.etc / "config.yaml")
    service.hand("u", "s3:https://s3.example.com/web\n", service.etc / "the url")
    password = service.hand("p", "secret", service.etc / "a 'password'")
    cacert = service.hand("c", "a certificate", service.etc / "ca.pem")
    done = service("--no-push", "--format", "json")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["code"], done.stderr) == ("missing", "")
    (report,) = reports_of(service.folder / "restic")
    assert report["environment"]["RESTIC_REPOSITORY"] == "s3:https://s3.example.com/web"
    assert report["environment"]["RESTIC_PASSWORD_FILE"] == str(password)
    assert report["arguments"][report["arguments"].index("--cacert") + 1] == str(cacert)


def test_a_variable_that_names_a_file_names_its_credential(service: Service) -> None:
    text = f"""
defaults: {{restic: {reporting_restic(service.folder / "restic")}, mode: restic, url: s3:https://s3.example.com/web}}
repositories:
  web:
    extra_env: {{RCLONE_CONFIG: {service.etc}/rclone.conf, OTHER: //{service.etc}/other}}
"""
    service.hand("config.yaml", text)
    password = service.hand("p", "secret", service.etc / "password")
    rclone = service.hand("r", "x", service.etc / "rclone.conf")
    environment = service.hand("environment", f"RESTIC_PASSWORD_FILE={service.etc}/password\n", service.etc / "environment")
    done = service("--no-push", RESTIC_MONITOR_ENVIRONMENT_FILE=str(environment))
    assert (done.returncode, done.stderr) == (1, "")
    (report,) = reports_of(service.folder / "restic")
    assert report["environment"]["RESTIC_PASSWORD_FILE"] == str(password)
    assert report["environment"]["RCLONE_CONFIG"] == str(rclone)
    assert report["environment"]["OTHER"] == f"//{service.etc}/other", "what names no credential stays as it is"


def test_messages_name_a_file_by_where_it_came_from(service: Service) -> None:
    """Ours, and those of restic."""
    restic = fake_restic(service.folder / "restic", end='echo "Fatal: cannot parse root certificate from \\"$5\\"" >&2; exit 1')
    text = f"""
defaults: {{restic: {restic}, mode: restic, url: s3:https://s3.example.com/web, password: x}}
repositories:
  web: {{cacert: {service.etc}/ca.pem}}
"""
    service.hand("config.yaml", text)
    service.hand("ca", "x", service.etc / "ca.pem")
    done = service("--no-push")
    assert f'ERROR cannot parse root certificate from "{service.etc}/ca.pem"' in done.stdout
    (service.folder / "credentials" / "ca").unlink()
    assert f"cacert: cannot read {service.etc}/ca.pem: no such file or directory" in service("--no-push").stderr
    service.hand("config.yaml", "repositories:\n  web: {url: {from_credential: digest}}\n")
    service.hand("digest", "\n", service.etc / "the url")
    assert f"{{from_credential: digest}}, which is {service.etc}/the url, is empty" in service("--no-push").stderr


def test_what_a_file_holds_is_not_shown_when_it_is_no_path(service: Service) -> None:
    """The password itself, where the path of its file was wanted."""
    service.hand("secret", "hunter2-canary")
    for keys in ("password_file: {from_credential: secret}", "extra_env: {RESTIC_PASSWORD_FILE: {from_credential: secret}}"):
        service.hand("config.yaml", f"repositories:\n  web: {{url: /srv, {keys}}}\n")
        done = service("--no-push")
        assert done.returncode == 2
        assert "cannot read the file that {from_credential: secret} names: no such file or directory" in done.stderr
        assert "canary" not in done.stderr + done.stdout


def test_a_repository_that_is_hidden_is_named_with_the_remedy(service: Service) -> None:
    service.hand("config.yaml", "repositories:\n  web: {url: /home/nobody-has-this-name/repo}\n")
    done = service()
    assert "/home/nobody-has-this-name/repo is hidden from the service; as root: restic-monitor install-units" in done.stderr


def test_the_path_of_a_credential_stands_where_a_file_is_wanted(service: Service) -> None:
    text = f"""
repositories:
  web:
    url: sftp:backup@nas.example.com:/srv
    mode: restic
    restic: {reporting_restic(service.folder / "restic")}
    password_file: {{credential_path: password}}
    extra_env: {{RCLONE_CONFIG: {{credential_path: rclone.conf}}}}
    restic_options:
      - "sftp.args=-i {{credential_path: ssh-key}} -o UserKnownHostsFile={{ credential_path: known@hosts }}"
"""
    service.hand("config.yaml", text)
    password, rclone = service.hand("password", "x"), service.hand("rclone.conf", "x")
    key, hosts = service.hand("ssh-key", "x"), service.hand("known@hosts", "x")
    assert service("--no-push").returncode == 1
    (report,) = reports_of(service.folder / "restic")
    assert report["environment"]["RESTIC_PASSWORD_FILE"] == str(password)
    assert report["environment"]["RCLONE_CONFIG"] == str(rclone)
    assert f"sftp.args=-i {key} -o UserKnownHostsFile={hosts}" in report["arguments"]


def test_config_show_shows_the_name_of_a_credential_and_reads_nothing(service: Service) -> None:
    service.hand("config.yaml", "repositories:\n  web: {url: /srv, password_file: {credential_path: password}}\n")
    assert "password_file: {credential_path: password}" in service("config", "show").stdout


def test_an_environment_file_that_was_handed_over_is_named_by_where_it_came_from(service: Service) -> None:
    service.hand("config.yaml", "repositories:\n  web: {url: /srv}\n", service.etc / "config.yaml")
    file = service.hand("environment", "export A=b\n", service.etc / "environment")
    done = service("config", "check", RESTIC_MONITOR_ENVIRONMENT_FILE=str(file))
    assert done.stderr == (
        f"restic-monitor: $RESTIC_MONITOR_ENVIRONMENT_FILE: {service.etc / 'environment'}, line 1: "
        "not the name of a variable before '='; leave out 'export'\n"
    )


def test_a_file_that_everybody_may_read_is_named_by_where_it_came_from(service: Service) -> None:
    original = service.etc / "config.yaml"
    text = f"repositories:\n  web: {{url: /srv, push_url: 'https://kuma.example.com/api/push/{TOKEN}'}}\n"
    original.write_text(text)
    original.chmod(0o644)
    service.hand("config.yaml", text, original)
    assert f"{original} can be read by every user of this machine" in service("config", "show").stderr


def test_a_file_that_was_not_handed_over_is_an_error_that_says_who_does(unprivileged: Unprivileged) -> None:
    """As the service's user: a configuration that names a file of root's, changed after install-units."""
    folder = unprivileged.folder
    (folder / "credentials").mkdir()
    (folder / "password").write_text("x")
    (folder / "password").chmod(0)
    config = folder / "credentials" / "config.yaml"
    config.write_text(f"repositories:\n  web: {{url: /srv, password_file: {folder}/password}}\n")
    env = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(config.parent)}
    command = f"{unprivileged.prefix} {sys.executable} -m restic_monitor --no-push --config {config}"
    done = subprocess.run(["/bin/sh", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [
        f"restic-monitor: {config}, line 2: repositories.web.password_file: cannot read {folder}/password: permission denied",
        "restic-monitor: the service reads only what systemd hands it; as root: restic-monitor install-units "
        "(on NixOS: credentials)",
    ]


@pytest.mark.parametrize("listed", ["config.yaml", "config.yaml:relative", "a/b:/etc/x", ":/etc/x", "config.yaml:'/etc/x"])
def test_a_list_that_is_none_is_an_error(service: Service, listed: str) -> None:
    service.hand("config.yaml", "repositories:\n  web: {url: /srv}\n")
    done = service("config", "show", RESTIC_MONITOR_CREDENTIALS=listed)
    assert done.returncode == 2
    assert done.stderr.startswith("restic-monitor: $RESTIC_MONITOR_CREDENTIALS ")
    assert "ID:PATH" in done.stderr


def test_a_list_of_no_credentials_changes_nothing(run: Run, tmp_path: Path) -> None:
    """Started by hand with what a unit has exported."""
    file = tmp_path / "config.yaml"
    file.write_text("repositories:\n  web: {url: /srv}\n")
    env = {"RESTIC_MONITOR_CREDENTIALS": f"config.yaml:{file}"}
    assert run("config", "show", "--config", file, env=env).stdout.startswith(f"# {file}\n")


def _path_with_restic() -> str:
    return f"{require(f'restic-{VERSIONS[-1]}').parent}:/usr/bin:/bin"
