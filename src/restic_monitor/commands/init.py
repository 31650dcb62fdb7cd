"""`restic-monitor init`: a commented file to start from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from restic_monitor.commands.common import Common, environment_layers
from restic_monitor.config import find
from restic_monitor.errors import UsageError

STARTER = """\
# restic-monitor: which repositories to look at, how old the newest snapshot may be, and whom to tell.
# All keys: docs/configuration.md of the project
# Try it: restic-monitor config check

defaults:
  # {{ .Name }} is the repository's name below. All of restic's addresses work: /srv/…, sftp:…, rest:…, s3:…, b2:…, …
  url: "s3:https://s3.example.com/restic-{{ .Name }}"

  # For a daily backup 26h, not 24h: the period, plus the longest run, plus some slack.
  max_age: 26h

  # The address Uptime Kuma shows for a monitor of the type Push, up to the token.
  push_url: https://uptime-kuma.example.com/api/push/

  # The password of the repositories; or set RESTIC_PASSWORD in the environment, or use --environment-file.
  # Without one, files are listed: that shows when something was stored last, not what. See mode: in the documentation.
  password_file: /etc/restic-monitor/password

  # What restic needs in its environment. A value may also be {from_file: PATH} or {from_env: VARIABLE}.
  # extra_env:
  #   AWS_ACCESS_KEY_ID: "your-key-id"
  #   AWS_SECRET_ACCESS_KEY: {from_file: /etc/restic-monitor/s3-secret}

repositories:
  web-server:
    push_token: the-token-of-its-push-monitor

  # db-server:
  #   push_token: another-token
  #   max_age: 6h

  # Several machines in one repository: the output of restic-monitor suggest NAME, below it, has each judged by name.
"""


def init(common: Common) -> int:
    """Write the starter, readable by its owner alone. Raises UsageError when the file is there or cannot be written."""
    environment = find.effective(environment_layers(common))
    path = find.default_path(environment) if common.config is None else find.named(common.config)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {(error.strerror or str(error)).lower()}") from None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(STARTER)
    except FileExistsError:
        raise UsageError(f"{path} is there already and was left as it is; another place: --config FILE") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
    if not common.quiet:
        print(f"wrote {path}; edit it, then: restic-monitor {_option(path, environment)}config check")
    return 0


def _option(path: Path, environment: Mapping[str, str]) -> str:
    """The option that the next command needs to read this file; "" where it is found by itself."""
    try:
        found, _ = find.find(None, environment)
    except UsageError:
        found = None
    return "" if found == path else f"--config {shlex.quote(str(path))} "
