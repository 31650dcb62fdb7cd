"""The flake, the NixOS module and the package, without nixpkgs: packaging/nix/tests/nixpkgs stands in for it.

What that shows and what it cannot show stands in docs/nixos.md. Nix writes below the folder of the tests only.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from kuma import Kuma
from nix_machine import NIX, ONE, STORE, STUB, Machine, Nix, machine, modules, parsed, service, timer_text, unit_text
from restic_monitor import __version__
from restic_monitor.commands.install import interval
from restics import CHECKOUT, PASSWORD, Backup, make_repository, missing, require
from systemd_box import PROGRAM, Box, box, wait

__all__ = ["box"]

PAGE = CHECKOUT / "docs" / "nixos.md"
UNITS = CHECKOUT / "src" / "restic_monitor" / "units"
A_STORE_PATH = f"{STORE}/00000000000000000000000000000000-secret"

SEED = """\
restic-monitor.nixosModules.default
{
  nixpkgs.overlays = [ restic-monitor.overlays.default ];
  services.restic-monitor = {
    enable = true;
    interval = "*-*-* 06,18:00:00";
    environmentFile = "/run/secrets/restic-monitor-env";   # loaded through LoadCredential into a private tmpfs, readable by root alone
    settings = {
      defaults = { url = "s3:https://s3.example.com/restic-{{ .Name }}"; push_url = "https://uptime-kuma.example.com/api/push/"; };
      repositories = {
        web-server.push_token = "yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6";
        db-server = { push_token = "ap2F52Qjmup9dxyPcWa1eNt125AukcrV"; max_age = "6h"; };
      };
    };
  };
}
"""  # noqa: E501 - as it stands
"""Modules of a NixOS configuration that must work as they stand."""
TOKENS = ("yDaQM5YUuS3rczSvLsOucs4LqHSRDhu6", "ap2F52Qjmup9dxyPcWa1eNt125AukcrV")


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    require("nix")
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="session")
def flake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as far as the flake takes it."""
    folder = tmp_path_factory.mktemp("flake")
    shutil.copy(CHECKOUT / "flake.nix", folder)
    shutil.copytree(NIX, folder / "packaging" / "nix")
    for name in packaged():
        part = CHECKOUT / name
        if part.is_dir():
            shutil.copytree(part, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, folder)
    return folder


def packaged() -> list[str]:
    """What the package is made of, as it stands in the file."""
    text = (NIX / "package.nix").read_text()
    return re.findall(r'"([\w.-]+)"', text.partition('root + "/${name}") [')[2].partition("]")[0])


# files


@pytest.mark.parametrize("file", [CHECKOUT / "flake.nix", *sorted(NIX.rglob("*.nix"))], ids=lambda file: file.name)
def test_every_file_is_nix(nix: Nix, file: Path) -> None:
    nix.does("nix-instantiate", "--parse", file)


def test_no_lock_file_names_a_host_for_everybody() -> None:
    assert not (CHECKOUT / "flake.lock").exists()
    assert "flake.lock" in PAGE.read_text()


# the flake


def test_the_flake_shows_what_it_has_for_each_system(nix: Nix, flake: Path) -> None:
    shown = json.loads(nix.flake("flake", "show", "--json", flake=f"path:{flake}", nixpkgs=STUB))
    linux, darwin = ("aarch64-linux", "x86_64-linux"), ("aarch64-darwin", "x86_64-darwin")
    for output in ("packages", "apps", "devShells"):
        assert {system: list(of) for system, of in shown[output].items()} == {
            system: ["default"] for system in sorted(linux + darwin)
        }
    assert {system: list(of) for system, of in shown["checks"].items()} == {system: ["nixos", "package"] for system in linux}
    assert list(shown["formatter"]) == sorted(linux + darwin)
    assert list(shown["overlays"]) == list(shown["nixosModules"]) == ["default"]


def test_the_flake_passes_its_check(nix: Nix, flake: Path) -> None:
    """All outputs are evaluated, the machine of the VM test among them; nothing is built."""
    nix.flake("flake", "check", "--no-build", flake=f"path:{flake}", nixpkgs=STUB)


def configuration(nix: Nix, flake: Path, folder: Path, listed: str) -> Any:
    """What `nixosConfigurations` of a user's flake with these modules becomes: its units, and what is said of it."""
    (folder / "flake.nix").write_text(
        f"""{{
          inputs.restic-monitor.url = "path:{flake}";
          outputs = {{ self, nixpkgs, restic-monitor }}: {{
            nixosConfigurations.monitor = nixpkgs.lib.nixosSystem {{ system = "x86_64-linux"; modules = [ {listed} ]; }};
            seen =
              let inherit (self.nixosConfigurations.monitor) config; in
              {{
                inherit (config) warnings;
                inherit (config.systemd) services timers;
                built = config.system.build.toplevel.drvPath;
                package = config.services.restic-monitor.package.name;
              }};
          }};
        }}"""
    )
    inputs = {"nixpkgs": STUB, "restic-monitor/nixpkgs": STUB}
    return json.loads(nix.flake("eval", "--json", flake=f"path:{folder}#seen", **inputs))


def test_the_first_example_works_as_it_stands_and_warns(nix: Nix, flake: Path, tmp_path: Path) -> None:
    seen = configuration(nix, flake, tmp_path, SEED)
    unit = seen["services"]["restic-monitor"]["serviceConfig"]
    assert unit["LoadCredential"] == ["environment:/run/secrets/restic-monitor-env"]
    assert seen["services"]["restic-monitor"]["environment"] == {
        "RESTIC_MONITOR_CREDENTIALS": "environment:/run/secrets/restic-monitor-env",
        "RESTIC_MONITOR_ENVIRONMENT_FILE": "%d/environment",
    }
    assert seen["timers"]["restic-monitor"]["timerConfig"]["OnCalendar"] == "*-*-* 06,18:00:00"
    assert seen["built"].endswith(".drv")
    (warning,) = seen["warnings"]
    for name in ("web-server", "db-server"):
        assert f"services.restic-monitor.settings.repositories.{name}.push_token" in warning
    assert "push_token._secret = " in warning
    assert not any(token in json.dumps(seen) for token in TOKENS)


def test_the_first_example_works_without_the_overlay_too(nix: Nix, flake: Path, tmp_path: Path) -> None:
    line = "  nixpkgs.overlays = [ restic-monitor.overlays.default ];\n"
    assert line in SEED
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder in folders:
        folder.mkdir()
    with_it, without = (
        configuration(nix, flake, folder, text) for folder, text in zip(folders, (SEED, SEED.replace(line, "")), strict=True)
    )
    assert without == with_it
    assert without["package"] == "restic-monitor"


def test_the_first_example_is_what_the_program_is_given(nix: Nix, run: Run, tmp_path: Path) -> None:
    """And it understands it."""
    options = SEED.partition("services.restic-monitor = {")[2].rpartition("};\n}")[0]
    settings = machine(nix, options.replace("enable = true;", "")).settings
    assert settings == {
        "defaults": {
            "url": "s3:https://s3.example.com/restic-{{ .Name }}",
            "push_url": "https://uptime-kuma.example.com/api/push/",
        },
        "repositories": {
            "web-server": {"push_token": TOKENS[0]},
            "db-server": {"push_token": TOKENS[1], "max_age": "6h"},
        },
    }
    file = tmp_path / "restic-monitor.json"
    file.write_text(json.dumps(settings))
    file.chmod(0o600)
    done = run("config", "check", "--no-secrets", "--config", file)
    assert (done.returncode, done.stderr) == (0, "")


# the module


def test_disabled_it_adds_nothing(nix: Nix) -> None:
    nothing = nix.evaluates(modules("{ }"))
    assert all(not value for value in nothing.values()), nothing
    assert nix.evaluates(modules(f"{{ services.restic-monitor = {{ {ONE} }}; }}")) == nothing


def test_the_service_is_that_of_the_package_key_by_key(nix: Nix) -> None:
    """But for where things are, and for files that are handed over."""
    theirs = parsed((UNITS / "restic-monitor.service").read_text())
    ours = parsed(unit_text(machine(nix, ONE)))
    assert ours["Unit"] == theirs["Unit"]
    places = {"ExecStart", "LoadCredential", "Environment", "X-RestartIfChanged"}
    assert {key: value for key, value in ours["Service"].items() if key not in places} == {
        key: value for key, value in theirs["Service"].items() if key not in places
    }
    (start,), (their_start,) = ours["Service"]["ExecStart"], theirs["Service"]["ExecStart"]
    assert start.replace('"', "").split()[1:-1] == their_start.split()[1:-1]


def test_the_timer_is_that_of_the_package_key_by_key(nix: Nix) -> None:
    assert parsed(timer_text(machine(nix, ONE))) == parsed((UNITS / "restic-monitor.timer").read_text())


def test_the_user_is_that_of_the_package(nix: Nix) -> None:
    made = machine(nix, ONE).values
    kind, name, _, _, home = (UNITS / "restic-monitor.conf").read_text().splitlines()[-1].split()
    user = made["users"][name]
    assert kind == "u"
    assert user == {"isSystemUser": True, "group": name, "home": home, "description": name}
    assert made["groups"] == {name: {}}


def test_a_switch_to_a_new_configuration_does_not_wait_for_a_run(nix: Nix) -> None:
    assert machine(nix, ONE).service["restartIfChanged"] is False


def test_a_longer_run_can_be_allowed_without_force(nix: Nix) -> None:
    longer = '{ systemd.services.restic-monitor.serviceConfig.TimeoutStartSec = "30min"; }'
    assert machine(nix, ONE, longer).unit["TimeoutStartSec"] == "30min"


def test_several_modules_make_one_configuration(nix: Nix) -> None:
    other = '{ services.restic-monitor.settings.repositories.db-server.url = "/srv/db"; }'
    assert set(machine(nix, ONE, other).settings["repositories"]) == {"web-server", "db-server"}


def test_the_interval_may_be_of_local_time(nix: Nix) -> None:
    assert machine(nix, f'{ONE} interval = "hourly";').timer["OnCalendar"] == "hourly"


def test_the_interval_may_be_a_list(nix: Nix) -> None:
    assert machine(nix, f'{ONE} interval = [ "08:00" "20:00" ];').timer["OnCalendar"] == ["08:00", "20:00"]


def test_the_interval_says_what_to_type_into_uptime_kuma(nix: Nix) -> None:
    """The longest gap + the longest run + 5 minutes, in seconds."""
    lib, arguments = f"import {STUB}/lib.nix", "config = { services.restic-monitor = { }; }; utils = { }; pkgs = { }"
    told = f"((import {NIX}/module.nix) {{ lib = {lib}; {arguments}; }}).options.services.restic-monitor.interval.description"
    text = nix.evaluates(told)
    longest_run = timedelta(minutes=int(machine(nix, ONE).unit["TimeoutStartSec"].removesuffix("min")))
    for gap in (timedelta(hours=1), timedelta(hours=12)):
        assert f" {(gap + longest_run + timedelta(minutes=5)).total_seconds():.0f}" in text
    assert "longest gap" in text
    assert "Times without `UTC` are local" in " ".join(text.split())
    assert "**more** than 12 hours" in " ".join(text.split())


def test_options_come_where_they_belong(nix: Nix) -> None:
    made = machine(
        nix,
        f"""{ONE}
        randomizedDelay = "1h";
        fast = true;
        onFailure = [ "mail@%n.service" ];
        supplementaryGroups = [ "backup" "users" ];
        readPaths = [ "/home/alice/backup" "/home/bob/my \\"own\\" 100%" ];
        extraArgs = [ "--only-failing" "100% $HOME" ];
        """,
    )
    assert made.timer["RandomizedDelaySec"] == "1h"
    assert made.service["environment"] == {"RESTIC_MONITOR_FAST": "true"}
    assert made.service["onFailure"] == ["mail@%n.service"]
    assert made.unit["SupplementaryGroups"] == ["backup", "users"]
    assert made.unit["BindReadOnlyPaths"] == ['"-/home/alice/backup"', r'"-/home/bob/my \"own\" 100%%"']
    assert made.unit["ExecStart"].endswith(' "--only-failing" "100%% $$HOME"')
    assert "LoadCredential" not in made.unit


def test_programs_come_from_packages(nix: Nix) -> None:
    assert machine(nix, ONE).values["path"] == ["restic", "openssh"]
    other = f'(import {STUB}/pkgs.nix {{ lib = import {STUB}/lib.nix; system = "x86_64-linux"; }})'
    made = machine(nix, f"{ONE} resticPackage = {other}.uv; extraPackages = [ {other}.rclone ]; package = {other}.age;")
    assert made.values["path"] == ["uv", "rclone"]
    assert made.unit["ExecStart"].partition(" ")[0].endswith('-age/bin/age"')
    assert made.values["installed"] == ["age"]


def test_a_file_of_ones_own_and_an_environment_are_handed_over_and_called_by_their_names(nix: Nix) -> None:
    made = machine(
        nix,
        """configFile = "/run/secrets/my config.yaml";
        environmentFile = "/run/secrets/100%";
        credentials.key = "/run/secrets/key";""",
    )
    assert made.unit["LoadCredential"] == [
        "config.yaml:/run/secrets/my config.yaml",
        "environment:/run/secrets/100%%",
        "key:/run/secrets/key",
    ]
    assert made.unit["ExecStart"].endswith(' "--config" %d/config.yaml')
    assert made.service["environment"] == {
        "RESTIC_MONITOR_CREDENTIALS": "'config.yaml:/run/secrets/my config.yaml' "
        "environment:/run/secrets/100%% key:/run/secrets/key",
        "RESTIC_MONITOR_ENVIRONMENT_FILE": "%d/environment",
    }
    assert made.values["etc"] == []
    assert made.failed == []


def test_the_settings_are_where_the_program_looks_for_them_by_itself(nix: Nix) -> None:
    assert machine(nix, ONE).values["etc"] == ["restic-monitor/config.yaml"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("enabled = true;", "services.restic-monitor.enabled` does not exist"),
        ('intervall = "daily";', "services.restic-monitor.intervall` does not exist"),
        ("interval = 12;", "interval` is not of type `string or list of string`"),
        ('fast = "yes";', "fast` is not of type `boolean`"),
        ('extraArgs = "--verbose";', "extraArgs` is not of type `list of string`"),
        ('extraPackages = [ "openssh" ];', "extraPackages` is not of type `list of package`"),
        ('settings.repositories = [ "web-server" ];', "settings.repositories` is not of type"),
        ('settings.repositories.web-server = "/srv";', "settings.repositories` is not of type"),
        ("settings.defaults = true;", "settings.defaults` is not of type"),
        ("settings.jobs = x: x;", "settings` has values that are not of type `JSON value`"),
        ('environmentFile = "relative";', "environmentFile` is not of type `null or absolute path not in the Nix store`"),
        ("environmentFile = /etc/hostname;", "environmentFile` is not of type `null or absolute path not in the Nix store`"),
        (f'environmentFile = "{A_STORE_PATH}";', "environmentFile` is not of type"),
        (f'configFile = "{A_STORE_PATH}";', "configFile` is not of type"),
        ("configFile = /etc/hostname;", "configFile` is not of type"),
        (f'credentials.key = "{A_STORE_PATH}";', "credentials` is not of type"),
        ("credentials.key = /etc/hostname;", "credentials` is not of type"),
    ],
)
def test_a_wrong_type_and_an_unknown_option_are_refused_by_name(nix: Nix, options: str, sentence: str) -> None:
    said = re.sub(r"[`']", "`", nix.refuses(modules(service(options))))
    assert sentence in said


def test_paths_are_kept_out_of_the_store_by_a_lib_that_has_no_type_for_it(nix: Nix) -> None:
    """nixpkgs before 25.05."""
    old = f'let lib = import {STUB}/lib.nix; in lib // {{ types = removeAttrs lib.types [ "externalPath" ]; }}'

    def with_old(options: str) -> str:
        listed = f"[ {NIX}/module.nix ({service(options)}) ]"
        config = f"(import {STUB}/nixos.nix {{ lib = {old}; }} {{ modules = {listed}; }}).config"
        return f"{config}.systemd.services.restic-monitor.serviceConfig.LoadCredential"

    assert nix.evaluates(with_old(f'{ONE} environmentFile = "/run/x";')) == ["environment:/run/x"]
    for wrong in (f'"{A_STORE_PATH}"', "/etc/hostname", '"relative"'):
        assert "absolute path not in the Nix store" in nix.refuses(with_old(f"{ONE} environmentFile = {wrong};"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("", "services.restic-monitor: nothing to look at; set settings.repositories or configFile."),
        (f'{ONE} configFile = "/run/x";', "services.restic-monitor: settings and configFile exclude each other; remove one."),
        ('settings.defaults.max_age = "6h"; configFile = "/run/x";', "exclude each other"),
        (
            f'{ONE} settings.repositories.a.push_token._secret = "{A_STORE_PATH}";',
            "settings.repositories.a.push_token._secret must be the absolute path of a file outside the Nix store, as text",
        ),
        ("settings.repositories.a.push_token._secret = /etc/hostname;", "a.push_token._secret must be the absolute path"),
        ('settings.repositories.a.push_token._secret = "relative";', "a.push_token._secret must be the absolute path"),
        ('settings.repositories.a.push_token = { _secret = "/run/x"; quote = false; };', "and stand alone"),
        (
            'settings.repositories.a.password_file._secret = "/run/x";',
            'password_file is the path of a file, not what a file holds; write password._secret = "/path".',
        ),
        (
            f'{ONE} settings.defaults.cacert._secret = "/run/x";',
            'write credentials.NAME = "/path", and cacert = { credential_path = "NAME"; }.',
        ),
        *(
            (
                f'{ONE} settings.defaults.extra_env.{name}._secret = "/run/x";',
                f"extra_env.{name} is the path of a file, not what a file holds; write "
                f'credentials.NAME = "/path", and {name} = {{ credential_path = "NAME"; }}.',
            )
            for name in (
                "RESTIC_PASSWORD_FILE",
                "AWS_SHARED_CREDENTIALS_FILE",
                "RCLONE_CONFIG",
                "GOOGLE_APPLICATION_CREDENTIALS",
            )
        ),
        ('settings.repositories.a.extra_env.X_FILE._secret = "/run/x";', "a.extra_env.X_FILE is the path of a file"),
        ('settings.repositories.extra_env.password_file._secret = "/run/x";', "extra_env.password_file is the path of a file"),
        (
            "settings.repositories.a.password_file = /etc/hostname;",
            "settings.repositories.a.password_file would be a file in the Nix store, which everybody can read",
        ),
        (
            f'{ONE} settings.defaults.password_file = "{A_STORE_PATH}";',
            "defaults.password_file would be a file in the",
        ),
        (
            f'{ONE} settings.defaults.password.from_file = "{A_STORE_PATH}";',
            "password.from_file would be a file in the",
        ),
        ("settings.repositories.a.tls_client_cert = /etc/hostname;", "tls_client_cert would be a file in the Nix store"),
        ("settings.repositories.a.extra_env.X = /etc/hostname;", "extra_env.X would be a file in the Nix store"),
        (f'{ONE} credentials."a b" = "/run/x";', 'credentials."a b": a name has letters, digits and _ . @ - only'),
        (f'{ONE} credentials."a:b" = "/run/x";', 'credentials."a:b": a name has letters'),
        (f'{ONE} credentials.environment = "/run/x";', "credentials.environment: the module uses this name itself"),
        (f'{ONE} credentials."config.yaml" = "/run/x";', "the module uses this name itself"),
        ('settings.repositories." ".url = "/srv";', 'settings.repositories." ": a repository\'s name is one line'),
        ('settings.repositories."a\\nb".url = "/srv";', "a repository's name is one line of visible characters"),
    ],
)
def test_what_cannot_work_fails_with_a_sentence(nix: Nix, options: str, sentence: str) -> None:
    (failed,) = machine(nix, options).failed
    assert sentence in failed


@pytest.mark.parametrize(
    "options",
    [
        "settings.repositories.web-server = { };",
        "settings.repositories.web-server = null;",
        'settings.repositories."büro 1".url = "/srv";',
        'settings = { jobs = 4; timeout = "3m"; x-note = "mine"; repositories.a.enabled = false; };',
        'settings.repositories.a = { url = "rest:https://h/"; cacert = /etc/hostname; };',
        'settings.repositories.a = { password_file = "/run/secrets/password"; tls_client_cert.credential_path = "pem"; };',
        'settings.repositories._secret.url = "/srv";',
        'settings.repositories.a.restic_options = [ "sftp.args=-i {credential_path: key}" ];',
        'settings.repositories.a.extra_env.RCLONE_CONFIG_NAS_PASS._secret = "/run/x";',
        'settings.repositories.a.extra_env.RCLONE_CONFIG.credential_path = "rclone";',
        'settings.repositories.extra_env.url._secret = "/run/x";',
    ],
)
def test_what_is_nobodys_business_here_passes_without_a_warning(nix: Nix, options: str) -> None:
    made = machine(nix, options)
    assert (made.failed, made.warnings) == ([], [])
    assert made.settings["repositories"]


# secrets


@pytest.mark.parametrize(
    "where",
    [
        'repositories.a.push_token = "S3CRET"',
        'repositories."a.b".push_token = "S3CRET"',
        'repositories.a.password = "S3CRET"',
        "repositories.a.password = 531",
        'defaults.password = "S3CRET"',
        'defaults.push_token = "S3CRET"',
        'defaults.extra_env.AWS_SECRET_ACCESS_KEY = "S3CRET"',
        'repositories.a.extra_env.B2_ACCOUNT_KEY = "S3CRET"',
        'repositories.a.extra_env.OS_APPLICATION_CREDENTIAL_SECRET = "S3CRET"',
        'repositories.a.extra_env.AWS_SESSION_TOKEN = "S3CRET"',
        'repositories.a.extra_env.RESTIC_REST_PASSWORD = "S3CRET"',
        'repositories.a.extra_env.RCLONE_CONFIG_NAS_PASS = "S3CRET"',
        'repositories.a.extra_env.AZURE_ACCOUNT_SAS = "S3CRET"',
        'repositories.a.push_url = "https://kuma.example.com/api/push/S3CRET"',
        'repositories.a.push_url = "https://kuma.example.com/api/push/S3CRET?status=up&msg=OK&ping="',
        'repositories.a.push_url = "https://kuma.example.com/api/push/S3CRET/"',
        'defaults.push_url = "https://proxy.example.com/kuma/S3CRET"',
        'defaults.push_url = "https://me:S3CRET@kuma.example.com/api/push/"',
        'repositories.a.url = "rest:https://me:S3CRET@backup.example.com/a"',
        'repositories.a.url = "rest:https://me:12S3CRET@backup.example.com/a"',
        'repositories.a.url = "rest:https://me:531@backup.example.com/a"',
        'repositories.a.extra_env.https_proxy = "http://me:S3CRET@proxy.example.com:3128"',
        'repositories.a.url = "rest:me:S3CRET@backup.example.com/a"',
        'repositories.a.url = "rclone::s3,access_key_id=AKIA,secret_access_key=S3CRET:b"',
        'repositories.a.url = "rclone::sftp,host=nas,pass=\\"S3CRET\\":b"',
        'repositories.a.url = "rclone:nas,token=S3CRET,region=eu:b"',
        'repositories.a.push_url = "https://kuma.example.com/api/push/S3CRET-{{ .Name }}"',
    ],
)
def test_every_secret_that_stands_in_the_settings_is_a_warning_with_its_place_and_without_its_value(
    nix: Nix, where: str
) -> None:
    made = machine(nix, f"settings.{where}; {ONE}")
    (warning,) = made.warnings
    option = f"services.restic-monitor.settings.{where.partition(' = ')[0]}"
    assert f"\n  {option}\n" in warning
    assert f'\n  {option}._secret = "/run/secrets/NAME";' in warning
    assert "S3CRET" not in warning
    assert "531" not in warning
    assert made.failed == []


@pytest.mark.parametrize(
    "where",
    [
        'defaults.push_url = "https://uptime-kuma.example.com/api/push/"',
        'defaults.push_url = "https://uptime-kuma.example.com/api/push"',
        'defaults.push_url = "https://uptime-kuma.example.com"',
        'defaults.push_url = "https://uptime-kuma.example.com/?status=up"',
        'defaults.push_url = "https://proxy.example.com/kuma/api/push/?status=up&msg=OK&ping="',
        'defaults.push_url = "https://proxy.example.com/kuma/"',
        'defaults.push_url._secret = "/run/x"',
        'defaults.extra_env = { AWS_ACCESS_KEY_ID = "AKIA"; AWS_PROFILE = "backup"; RESTIC_PASSWORD_FILE = "/run/x"; }',
        "defaults.extra_env.AWS_SECRET_ACCESS_KEY = null",
        'defaults.extra_env.AWS_SECRET_ACCESS_KEY.from_env = "KEY"',
        'defaults.password.from_file = "/run/x"',
        'repositories.a.push_token._secret = "/run/x"',
        'repositories.a.url = "sftp://monitor@nas.example.com:2222//srv/a@b"',
        'repositories.a.url = "sftp://nas.example.com:2222//srv/a@b"',
        'repositories.a.url = "rest:https://monitor@backup.example.com:8000/a"',
        'repositories.a.url = "sftp:monitor@nas.example.com:/srv/a"',
        'repositories.a.url = "rclone::s3,env_auth=true,region=eu,secret_access_key=:b"',
        'repositories.a.url = "rclone::sftp,host=nas,key_file=/var/lib/restic-monitor/key:b"',
        'repositories.a.url = "s3:store.example.com:9000/a@b"',
        'repositories.a = { password = ""; push_token = ""; push_url = ""; extra_env.AWS_SECRET_ACCESS_KEY = ""; }',
        'defaults.push_url = "https://uptime-kuma.example.com/api/push/{{ .Name }}"',
        'defaults.push_url = "https://uptime-kuma.example.com/api/push/{{.Name}}?status=up&msg=OK&ping="',
        'defaults.push_url = "https://proxy.example.com/{{ .Name }}"',
        'repositories.password.url = "/srv"',
        'repositories.push_token.max_age = "6h"',
    ],
)
def test_what_is_no_secret_or_stands_elsewhere_is_no_warning(nix: Nix, where: str) -> None:
    assert machine(nix, f"settings.{where}; {ONE}").warnings == []


def test_a_secret_is_a_credential_of_its_own_and_a_word_for_it_in_the_settings(nix: Nix) -> None:
    """Names that are the same when odd characters are taken out are two."""
    made = machine(
        nix,
        """settings.defaults.password._secret = "/run/secrets/password";
        settings.repositories = {
          "db:1".push_token._secret = "/run/secrets/one";
          "db-1".push_token._secret = "/run/secrets/two";
          "db".restic_options = [ "s3.bucket-lookup=path" { _secret = "/run/secrets/option 100%"; } ];
        };""",
    )
    repositories = made.settings["repositories"]
    words = {
        "/run/secrets/password": made.settings["defaults"]["password"],
        "/run/secrets/one": repositories["db:1"]["push_token"],
        "/run/secrets/two": repositories["db-1"]["push_token"],
        "/run/secrets/option 100%": repositories["db"]["restic_options"][1],
    }
    names = {file: word["from_credential"] for file, word in words.items()}
    assert all(re.fullmatch("settings-[0-9a-f]{64}", name) for name in names.values())
    assert len(set(names.values())) == 4
    assert sorted(made.unit["LoadCredential"]) == sorted(f"{name}:{file.replace('%', '%%')}" for file, name in names.items())
    listed = made.service["environment"]["RESTIC_MONITOR_CREDENTIALS"]
    assert f"'{names['/run/secrets/option 100%']}:/run/secrets/option 100%%'" in listed
    assert made.failed == []


def test_the_name_of_a_credential_stays_the_same_when_others_come(nix: Nix) -> None:
    one = 'settings.repositories.a.push_token._secret = "/run/a";'
    more = 'settings.repositories.A.push_token._secret = "/run/b";'
    assert machine(nix, one).settings["repositories"]["a"] == machine(nix, one + more).settings["repositories"]["a"]


def many(repositories: int) -> str:
    """Options with two secrets for each."""
    each = "".join(f'{key}._secret = "/run/secrets/{key}/host-${{toString index}}"; ' for key in ("password", "push_token"))
    one = f'index: {{ name = "host-${{toString index}}"; value = {{ url = "/srv/{{{{ .Name }}}}"; {each} }}; }}'
    listed = f"builtins.listToAttrs (builtins.genList ({one}) {repositories})"
    return f'credentials.key = "/run/secrets/key"; settings.repositories = {listed};'


def test_a_thousand_repositories_are_evaluated_in_seconds_and_their_list_fits_into_one_variable(nix: Nix) -> None:
    """128 KiB: MAX_ARG_STRLEN of <linux/binfmts.h>. What need not be in the list is left out."""
    started = time.monotonic()
    made = machine(nix, many(1000))
    assert time.monotonic() - started < 10  # 0.4 s
    assert len(made.unit["LoadCredential"]) == 2001
    assert made.service["environment"]["RESTIC_MONITOR_CREDENTIALS"] == "key:/run/secrets/key"
    assert made.failed == []


@pytest.mark.parametrize("repositories", [120, 500])
def test_the_list_has_the_secrets_too_while_it_is_short_enough(nix: Nix, repositories: int) -> None:
    made = machine(nix, many(repositories))
    listed = made.service["environment"]["RESTIC_MONITOR_CREDENTIALS"]
    assert listed.split(" ") == made.unit["LoadCredential"]
    assert len(listed) <= 120_000


def test_a_list_that_fits_nowhere_is_refused(nix: Nix) -> None:
    one = 'index: { name = "key-${toString index}"; value = "/run/secrets/key-${toString index}"; }'
    (failed,) = machine(nix, f"{ONE} credentials = builtins.listToAttrs (builtins.genList ({one}) 4000);").failed
    assert failed == "services.restic-monitor.credentials: too many, or too long names, for one unit."


def test_more_files_than_systemd_has_room_for_are_a_warning(nix: Nix) -> None:
    """256 small ones in the file system that systemd 255 and later makes: size=1024k, a page of 4 KiB for each."""
    assert machine(nix, many(120)).warnings == []
    (warning,) = machine(nix, many(125)).warnings
    assert "251 files are handed over" in warning
    assert "243/CREDENTIALS" in warning
    assert "configFile or environmentFile" in warning
    assert "**More than 250 files** are a warning" in PAGE.read_text()


# the program and the settings


def test_the_program_understands_what_the_module_makes_of_secrets(nix: Nix, run: Run, tmp_path: Path) -> None:
    made = machine(
        nix,
        """settings = {
          jobs = 4;
          defaults = { push_url = "https://kuma.example.com/api/push/"; password._secret = "/run/secrets/password"; };
          repositories.office = {
            url = "sftp:monitor@nas.example.com:/srv/office";
            push_token._secret = "/run/secrets/token";
            restic_options = [ "sftp.args=-i {credential_path: ssh-key}" ];
            cacert.credential_path = "authority";
            insecure_tls = false;
            extra_env.RCLONE_CONFIG.credential_path = "rclone";
          };
          repositories.bare = { url = "/srv/bare"; };
        };""",
    )
    file = tmp_path / "restic-monitor.json"
    file.write_text(json.dumps(made.settings))
    done = run("config", "check", "--no-secrets", "--config", file)
    assert (done.returncode, done.stderr) == (0, "")


def built(nix: Nix, options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The file that the service is given, built: with the real program as the package."""
    program = folder / "program" / "bin" / "restic-monitor"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m restic_monitor "$@"\n')
    program.chmod(0o755)
    package = f'{{ type = "derivation"; name = "restic-monitor"; outPath = "{program.parent.parent}"; '
    package += 'meta.mainProgram = "restic-monitor"; }'
    listed = f"[ {NIX}/module.nix {{ services.restic-monitor = {{ enable = true; package = {package}; {options} }}; }} ]"
    given = f"{{ system = builtins.currentSystem; modules = {listed}; }}"
    config = f"(import {STUB}/nixos.nix {{ lib = import {STUB}/lib.nix; }} {given}).config"
    return nix.run("nix-build", "--no-out-link", "--expr", f'{config}.environment.etc."restic-monitor/config.yaml".source')


def test_settings_that_are_right_build(nix: Nix, tmp_path: Path) -> None:
    done = built(nix, f'{ONE} settings.repositories.web-server.push_token._secret = "/run/x";', tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(Path(done.stdout.strip()).read_text())["repositories"]["web-server"]) == {"push_token", "url"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ('max_age = "six hours"', "repositories.web-server.max_age"),
        ('push_tokn = "x"', "did you mean push_token?"),
        ('push_url = "ftp://kuma.example.com"', "push_url must be an address like https://"),
    ],
)
def test_settings_that_are_wrong_do_not_build_and_it_is_said_why(nix: Nix, tmp_path: Path, wrong: str, sentence: str) -> None:
    done = built(nix, f"{ONE} settings.repositories.web-server.{wrong};", tmp_path)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_settings_that_are_wrong_build_unchecked(nix: Nix, tmp_path: Path) -> None:
    done = built(nix, f'{ONE} settings.repositories.web-server.max_age = "x"; checkConfig = false;', tmp_path)
    assert done.returncode == 0, done.stderr


# the package


def package(nix: Nix) -> Any:
    pkgs = f'(import {STUB}/pkgs.nix {{ lib = import {STUB}/lib.nix; system = "x86_64-linux"; }})'
    of = "{ inherit (p) version name meta; inherit (p.attributes) checkPhase postInstall; "
    of += "dependencies = map (d: d.pname) p.attributes.dependencies; "
    of += "tests = map (d: d.pname or d.name) p.attributes.nativeCheckInputs; }"
    return nix.evaluates(f"let p = {pkgs}.callPackage {NIX}/package.nix {{ }}; in {of}")


def test_the_package_is_of_this_version_with_the_dependencies_of_the_project(nix: Nix) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    made = package(nix)
    assert made["version"] == __version__
    assert made["dependencies"] == sorted(re.split("[^a-z0-9_-]", name.lower())[0] for name in project["dependencies"])
    assert made["meta"]["mainProgram"] in project["scripts"]


def test_the_package_installs_the_manual_and_the_completions_that_there_are(nix: Nix) -> None:
    named = re.findall(r"(?:man|completions)/\S+", package(nix)["postInstall"])
    there = [path for folder in ("man", "completions") for path in (CHECKOUT / folder).iterdir()]
    assert sorted(named) == sorted(str(path.relative_to(CHECKOUT)) for path in there)


def test_the_package_runs_tests_that_there_are_with_what_they_need(nix: Nix) -> None:
    made = package(nix)
    files = re.findall(r"tests/\S+\.py", made["checkPhase"])
    assert len(files) >= 10
    assert [file for file in files if not (CHECKOUT / file).exists()] == []
    assert {"pytest", "pytest-timeout", "hypothesis", "restic"} < set(made["tests"])


@pytest.mark.slow
def test_the_tests_of_the_package_can_be_collected_without_the_rest_of_the_checkout(flake: Path, nix: Nix) -> None:
    files = re.findall(r"tests/\S+\.py", package(nix)["checkPhase"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--collect-only", *files]
    done = subprocess.run(command, cwd=flake, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout + done.stderr


# the test in a virtual machine


def vm_test(nix: Nix, attribute: str) -> Any:
    """Its machine, evaluated as `nix flake check` does it, with our module and overlay."""
    pkgs = f'(import {STUB}/pkgs.nix {{ lib = import {STUB}/lib.nix; system = "x86_64-linux"; }})'
    ours = f"self = {{ nixosModules.default = {NIX}/module.nix; "
    ours += f"overlays.default = final: _: {{ restic-monitor = final.callPackage {NIX}/package.nix {{ }}; }}; }};"
    test = f"{pkgs}.testers.runNixOSTest (import {NIX}/nixos-test.nix {{ {ours} }})"
    return nix.evaluates(f"({test}).{attribute}")


def test_the_script_of_the_vm_test_is_python_and_names_only_what_there_is(nix: Nix, tmp_path: Path) -> None:
    script = vm_test(nix, "testScript")
    ast.parse(script)
    (tmp_path / "script.py").write_text(script)
    names = "--config=builtins = ['machine', 'subtest']"
    linted = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F", names, str(tmp_path / "script.py")]
    done = subprocess.run(linted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    sink = re.search(r'writeText "uptime-kuma.py" \'\'\n(.*?)\n +\'\'', (NIX / "nixos-test.nix").read_text(), re.DOTALL)
    assert sink
    ast.parse("\n".join(line.removeprefix(" " * 10) for line in sink[1].splitlines()))


def test_the_machine_of_the_vm_test_has_units_and_no_complaint(nix: Nix) -> None:
    config = vm_test(nix, "nodes.machine.config.systemd.services")
    assert config["restic-monitor"]["onFailure"] == ["tell-root.service"]
    assert {"restic-monitor", "tell-root", "uptime-kuma"} == set(config)
    assert vm_test(nix, "nodes.machine.config.warnings") == []
    assert all(each["assertion"] for each in vm_test(nix, "nodes.machine.config.assertions"))


# the page


@dataclass(frozen=True)
class Block:
    text: str
    line: int


def blocks() -> list[Block]:
    text = PAGE.read_text()
    found = re.finditer(r"^```nix\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(match[1], text.count("\n", 0, match.start()) + 1) for match in found]


@pytest.mark.parametrize(
    "block", [block for block in blocks() if "outputs" not in block.text], ids=lambda block: str(block.line)
)
def test_every_module_on_the_page_is_taken_without_a_complaint(nix: Nix, tmp_path: Path, block: Block) -> None:
    """Beside what it leaves out: `enable`, and a repository."""
    (tmp_path / "block.nix").write_text(block.text)
    (tmp_path / "restic-monitor").symlink_to(CHECKOUT)
    for name in re.findall(r"= \./(\S+);", block.text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rest = service("" if re.search("repositories|configFile", block.text) else ONE)
    ours = "ours = [ ];" if "imports" in block.text else ""
    made = Machine(nix.evaluates(f"import {NIX}/tests/evaluate.nix {{ {ours} modules = [ {tmp_path}/block.nix ({rest}) ]; }}"))
    assert (made.failed, made.warnings) == ([], [])
    assert made.service["serviceConfig"]["ExecStart"]


def test_the_flake_on_the_page_is_a_system(nix: Nix, flake: Path, tmp_path: Path) -> None:
    system, *modules = [block.text for block in blocks()]
    (tmp_path / "flake.nix").write_text(system)
    (tmp_path / "configuration.nix").write_text(modules[0])
    built = f"path:{tmp_path}#nixosConfigurations.monitor.config.system.build.toplevel.drvPath"
    inputs = {"nixpkgs": STUB, "restic-monitor": flake}
    assert nix.flake("eval", "--raw", flake=built, **inputs).endswith("-nixos-system.drv")


def test_the_page_has_every_option_and_no_other(nix: Nix) -> None:
    options = nix.evaluates(
        f"builtins.attrNames ((import {NIX}/module.nix) {{ lib = import {STUB}/lib.nix; "
        "config = { services.restic-monitor = { }; }; utils = { }; pkgs = { }; }).options.services.restic-monitor"
    )
    rows = PAGE.read_text().partition("\n## Options\n")[2].partition("\n## ")[0].splitlines()
    named = [name for row in rows if row.startswith("| `") for name in re.findall("`(\\w+)`", row.split(" | ")[0])]
    assert sorted(named) == options


def test_the_intervals_on_the_page_have_the_gaps_that_systemd_gives_them() -> None:
    """Times without UTC need an hour more where the clock is set."""
    require("systemd-analyze")
    rows = re.findall(r"^\| `\"(.+)\"`.* \| (\d+) \+", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 3
    for expression, seconds in rows:
        gap = timedelta(seconds=int(seconds))
        longer = timedelta(hours=0 if "UTC" in expression else 1)
        for zone, expected in (("Asia/Tokyo", gap), ("Europe/Berlin", gap + longer)):
            file = Path("/usr/share/zoneinfo", zone)
            if not file.exists():
                missing("zoneinfo", f"{file} is not here: install tzdata")
            found = interval.longest_gap([expression], file)
            assert found
            assert found.length == expected
    assert "Times without `UTC` are local: add 3600" in PAGE.read_text()


def test_the_sums_on_the_page_are_right(nix: Nix) -> None:
    longest_run = 60 * int(machine(nix, ONE).unit["TimeoutStartSec"].removesuffix("min"))
    sums = re.findall(r"(\d+) \+ (\d+) \+ (\d+) = \*\*(\d+)\*\*", PAGE.read_text())
    assert len(sums) == 3
    for gap, run, slack, whole in sums:
        assert int(gap) + int(run) + int(slack) == int(whole)
        assert (int(run), int(slack)) == (longest_run, 300)


# a real systemd


SERVICE = "restic-monitor.service"
TOKEN = "right-token-right-token"


@dataclass(frozen=True)
class Host:
    """Not NixOS, but its systemd, with the units that the module makes and the paths of the store that they name."""

    box: Box
    nix: Nix
    kuma: Kuma

    def switch(self, options: str) -> Machine:
        """To a configuration with these options: as `nixos-rebuild switch` does it."""
        made = machine(self.nix, options)
        assert made.failed == []
        self.box.write(f"/etc/systemd/system/{SERVICE}", unit_text(made))
        self.box.write("/etc/systemd/system/restic-monitor.timer", timer_text(made))
        (program,) = re.findall(f'^"({STORE}/\\S+)"', made.unit["ExecStart"])
        self._link(program, PROGRAM)
        for package in made.service["path"]:
            if package.endswith("-restic"):
                self._link(f"{package}/bin/restic", "/usr/local/bin/restic")
        if made.values["settings"] is not None:
            (file,) = re.findall(f'"({STORE}/\\S+json)"', made.unit["ExecStart"])
            self.box.write(file, json.dumps(made.settings))
        self.box.do("systemctl", "daemon-reload")
        return made

    @property
    def whole(self) -> str:
        return WHOLE.replace("KUMA", self.kuma.url)

    def _link(self, path: str, target: str) -> None:
        self.box.do("mkdir", "-p", str(Path(path).parent))
        self.box.do("ln", "-sf", target, path)

    def secret(self, name: str, text: str) -> None:
        self.box.write(f"/run/secrets/{name}", f"{text}\n", 0o600)

    def run(self) -> str:
        """A whole run; the result that systemd gives it, `success` or another."""
        self.box.run("systemctl", "start", SERVICE)
        return self.box.show(SERVICE, "Result")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository") / "web-server"
    return make_repository(path, snapshots=[Backup(datetime.now(UTC) - timedelta(hours=1))]).path


@pytest.fixture
def host(nix: Nix, box: Box, fresh: Path) -> Iterator[Host]:
    """With a fresh repository below /home, which the group `backup` may read, and a file of each secret."""
    host = Host(box, nix, Kuma(tokens=[TOKEN]))
    with box.network():
        host.kuma.listen()
    box.do("systemd-sysusers", "-", input=(UNITS / "restic-monitor.conf").read_text())
    repository = "/home/alice/my own: 100%"
    shutil.copytree(fresh, box.path(repository))
    box.do("chown", "-R", "root:backup", repository)
    box.do("chmod", "-R", "u=rwX,g=rX,o=", repository)
    host.secret("password", PASSWORD)
    host.secret("environment", f"RESTIC_PASSWORD='{PASSWORD}'")
    host.secret("kuma 100%: token", TOKEN)
    try:
        yield host
    finally:
        host.kuma.refuse()
        box.run("systemctl", "stop", "restic-monitor.timer", SERVICE)
        units = [f"/etc/systemd/system/{name}" for name in (SERVICE, "restic-monitor.timer", "tell-root.service")]
        kept = [f"/var/{name}/restic-monitor" for name in ("lib", "cache")]
        stamp = "/var/lib/systemd/timers/stamp-restic-monitor.timer"
        box.clean(*units, *kept, stamp, "/nix", "/home/alice", "/run/secrets", "/run/root-was-told", "/etc/restic-monitor")


WHOLE = """
interval = "*-*-* 06,18:00:00";
environmentFile = "/run/secrets/environment";
readPaths = [ "/home/alice/my own: 100%" "/home/alice/gone" ];
supplementaryGroups = [ "backup" ];
extraArgs = [ "--only-failing" ];
onFailure = [ "tell-root.service" ];
settings = {
  defaults.push_url = "KUMA/api/push/";
  repositories."web:1" = {
    url = "/home/alice/my own: 100%";
    push_token._secret = "/run/secrets/kuma 100%: token";
  };
};
"""


def test_the_units_are_valid_and_score_what_the_page_says(host: Host) -> None:
    host.switch(host.whole)
    host.box.write("/etc/systemd/system/tell-root.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    files = [f"/etc/systemd/system/{name}" for name in (SERVICE, "restic-monitor.timer")]
    verified = host.box.run("systemd-analyze", "verify", "--man=no", *files)
    # what is NixOS's own, X-RestartIfChanged=, passes: X- is for others
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    scored = host.box.run("systemd-analyze", "security", "--offline=true", "--threshold=11", files[0])
    assert scored.returncode == 0
    assert "restic-monitor.service: 1.1 OK" in scored.stdout
    assert "scores the same 1.1" in PAGE.read_text()


def test_a_run_with_every_kind_of_secret_tells_and_shows_none(host: Host) -> None:
    """Files that only root may read, with odd names; a repository below /home that a group may read."""
    host.switch(host.whole)
    assert host.run() == "success", host.box.journal(SERVICE)
    (beat,) = host.kuma.beats
    assert (beat.token, beat.status) == (TOKEN, "up")
    said = host.box.journal(SERVICE)
    assert "can be read by every user" not in said  # as the store can: it holds no secret
    assert "web:1" not in said  # --only-failing has come through
    shown = host.box.do("systemctl", "show", SERVICE) + host.box.do("systemctl", "cat", SERVICE)
    in_store = "".join(path.read_text() for path in host.box.path(STORE).glob("*.json"))
    for secret in (PASSWORD, TOKEN):
        assert secret not in said + shown + in_store


def test_a_missing_repository_is_down_and_told_though_its_folder_is_one_of_those_to_be_shown(host: Host) -> None:
    host.switch(host.whole.replace('url = "/home/alice/my own: 100%"', 'url = "/home/alice/gone"'))
    assert host.run() == "success", host.box.journal(SERVICE)
    (beat,) = host.kuma.beats
    assert beat.status == "down"
    assert "web:1" in host.box.journal(SERVICE)


def test_a_push_that_is_refused_is_a_failure_and_starts_what_shall_tell(host: Host) -> None:
    host.secret("kuma 100%: token", "wrong-token")
    host.switch(host.whole)
    tell = "[Service]\nType=oneshot\nExecStart=/bin/touch /run/root-was-told\n"
    host.box.write("/etc/systemd/system/tell-root.service", tell)
    host.box.do("systemctl", "daemon-reload")
    assert host.run() == "exit-code"
    wait(host.box.path("/run/root-was-told").exists, "what shall tell")


def test_the_timer_runs_it_at_its_times(host: Host) -> None:
    host.switch(host.whole)
    host.box.do("systemctl", "start", "restic-monitor.timer")
    shown = host.box.show("restic-monitor.timer", "TimersCalendar")
    assert "OnCalendar=*-*-* 06,18:00:00" in shown
    assert host.box.show("restic-monitor.timer", "RandomizedDelayUSec") == "5min"
    assert host.box.show("restic-monitor.timer", "FixedRandomDelay") == "yes"
    assert host.box.show("restic-monitor.timer", "Persistent") == "yes"


def test_a_file_of_ones_own_and_what_it_names_may_be_roots(host: Host) -> None:
    """And messages call it by its own name."""
    repository, url = "/home/alice/my own: 100%", f"{host.kuma.url}/api/push/{TOKEN}"
    text = f"repositories:\n  web-server:\n    url: '{repository}'\n    push_url: {url}\n"
    host.secret("config.yaml", f"{text}    password_file: /run/secrets/password")
    options = f"""
      configFile = "/run/secrets/config.yaml";
      credentials.password = "/run/secrets/password";
      readPaths = [ "{repository}" ];
      supplementaryGroups = [ "backup" ];
    """
    host.switch(options)
    assert host.run() == "success", host.box.journal(SERVICE)
    assert [beat.status for beat in host.kuma.beats] == ["up"]

    host.secret("config.yaml", f"{text}    passwort: x")
    assert host.run() == "exit-code"
    assert "/run/secrets/config.yaml, line 5: repositories.web-server.passwort" in host.box.journal(SERVICE)
    assert "/run/credentials" not in host.box.journal(SERVICE)


def test_a_path_where_a_file_is_wanted_is_that_of_a_credential(host: Host) -> None:
    """restic is given the password's file by a variable."""
    options = host.whole.replace('environmentFile = "/run/secrets/environment";', "")
    host.switch(
        f"""{options} credentials.password = "/run/secrets/password";
        settings.defaults.password_file.credential_path = "password";"""
    )
    assert host.run() == "success", host.box.journal(SERVICE)
    assert [beat.status for beat in host.kuma.beats] == ["up"]


def test_a_file_that_is_missing_is_what_the_page_says(host: Host) -> None:
    host.switch(host.whole)
    host.box.do("rm", "/run/secrets/environment")
    assert host.run() == "exit-code"
    assert host.box.show(SERVICE, "ExecMainStatus") == "243"
    assert "status=243/CREDENTIALS" in PAGE.read_text()
    assert host.kuma.beats == ()
