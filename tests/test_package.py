"""The packages as they are built, without a network, and the files around them. script/package installs and runs them."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from restic_monitor import __version__
from restics import CHECKOUT

PACKAGE = CHECKOUT / "src" / "restic_monitor"
FRAGMENTS = sorted((CHECKOUT / "changelog.d").glob("*.md"))
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Packages:
    sdist: Path
    wheel: Path

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(wheel.read(name))


def build(source: Path, to: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(to), *targets]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Built from the checkout, as it stands."""
    folder = tmp_path_factory.mktemp("dist")
    build(CHECKOUT, folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Packages(sdist, wheel)


def test_the_wheel_has_every_file_of_the_package_and_no_other(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {file.relative_to(PACKAGE.parent) for file in PACKAGE.rglob("*") if file.is_file()}
    assert packed == {str(file) for file in files if "__pycache__" not in file.parts}
    assert {"restic_monitor/py.typed", "restic_monitor/units/restic-monitor.service"} <= packed


def test_the_sdist_has_the_whole_checkout(packages: Packages) -> None:
    if not shutil.which("git") or not (CHECKOUT / ".git").exists():
        pytest.skip("this is no checkout of git's, or git is not here")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    with tarfile.open(packages.sdist) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert {name for name in listed.split("\0") if name and (CHECKOUT / name).exists()} - packed == set()


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_checkout_byte_for_byte(packages: Packages, tmp_path: Path) -> None:
    filters: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not before 3.11.4
    with tarfile.open(packages.sdist) as sdist:
        sdist.extractall(tmp_path, **filters)
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "dist", "--target", "wheel")
    assert (tmp_path / "dist" / packages.wheel.name).read_bytes() == packages.wheel.read_bytes()


def test_the_version_stands_in_one_place(packages: Packages) -> None:
    assert packages.metadata["Version"] == __version__
    assert pyproject()["project"]["dynamic"] == ["version"]
    assert f'__version__ = "{__version__}"\n' in (PACKAGE / "__init__.py").read_text()  # packaging/nix reads it there


def test_every_dependency_says_its_oldest_version_and_nothing_more(packages: Packages) -> None:
    needed = [text for text in packages.metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert needed
    assert [text for text in needed if not re.fullmatch(r"[\w-]+>=\d+(\.\d+)*", text)] == []


# the changelog


def pyproject() -> Mapping[str, Mapping[str, object]]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda fragment: fragment.name)
def test_a_change_is_a_sentence_whose_links_lead_somewhere_from_the_changelog(fragment: Path) -> None:
    text = fragment.read_text()
    assert re.match(r"[\w*`\[{]", text), "neither empty nor a list: script/changelog makes the list"
    for target in re.findall(r"\]\(([^)\s#]+)", text):
        assert re.match("[a-z]+:", target) or (CHECKOUT / target).exists(), target


def test_every_change_is_of_a_kind_that_the_changelog_has() -> None:
    towncrier = pyproject()["tool"]["towncrier"]
    assert isinstance(towncrier, dict)
    kinds = "|".join(towncrier["fragment"])
    pattern = rf"{towncrier['issue_pattern']}\.({kinds})\.md"
    names = {file.name for file in (CHECKOUT / "changelog.d").iterdir()} - {"template.md.jinja"}
    assert {name for name in names if not re.fullmatch(pattern, name)} == set()


# the workflow of the forge


def test_actions_of_others_are_pinned_by_their_commit() -> None:
    uses = re.findall(r"uses: *(.*)", "".join(file.read_text() for file in (CHECKOUT / ".github").rglob("*.yml")))
    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
