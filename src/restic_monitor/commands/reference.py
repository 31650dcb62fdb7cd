"""What docs/reference.md and the man page say besides options and keys: exit statuses, environment variables, message codes.

Meanings are in the Markdown of the page; its links start at docs/.
"""

from __future__ import annotations

from typing import NamedTuple

from restic_monitor.model import Code, Status


class Statuses(NamedTuple):
    """One row: "130, 143" are two of them."""

    numbers: str
    about: str


EXIT_STATUSES = (
    Statuses("0", "every repository is up (or warns), and was told"),
    Statuses("1", "something is down or unknown"),
    Statuses("2", "wrong usage or configuration; nothing was looked at"),
    Statuses("3", "a push failed, also when something is down"),
    Statuses("70", "an internal error"),
    Statuses("130, 143", "ended by Ctrl-C, by SIGTERM"),
)
EXCEPTIONS = {
    "run --ok-when-told": "0 when every result reached its receivers, whatever it was; 3 when a push failed, or what is down "
    "or unknown has no receiver; the others as above",
    "run --format nagios": "0 OK, 1 warning or a failed push, 2 down, 3 unknown or an error",
    "config check": "2 when one of its first three stages fails, 1 when a repository cannot be reached, or is damaged",
}
"""Where a command has its own, or leaves some out."""


class Variables(NamedTuple):
    """One row: names that belong together."""

    names: tuple[str, ...]
    about: str


VARIABLES = (
    Variables(("RESTIC_MONITOR_CONFIG",), "the configuration, where there is no `--config`"),
    Variables(
        ("RESTIC_MONITOR_ENVIRONMENT_FILE",),
        "the [environment file](configuration.md#the-environment-file), where there is no `--environment-file`",
    ),
    Variables(("RESTIC_MONITOR_FAST",), "true: [mode](listing.md#choosing-it) `fast` where nothing else is said"),
    Variables(
        ("RESTIC_MONITOR_CREDENTIALS",),
        "set by the systemd unit: `ID:PATH` with blanks between, the file that each credential is a copy of",
    ),
    Variables(("CREDENTIALS_DIRECTORY",), "set by systemd: where [credentials](configuration.md#secrets) are"),
    Variables(
        ("STATE_DIRECTORY", "XDG_STATE_HOME"),
        "where [what is remembered](listing.md#what-is-remembered) is: the first, set by systemd; else `restic-monitor` in the "
        "second, else in `~/.local/state`",
    ),
    Variables(
        ("CACHE_DIRECTORY",),
        "set by systemd: [restic's cache](configuration.md#the-environment-of-restic) may be there",
    ),
    Variables(
        ("XDG_CONFIG_HOME",),
        "the user's configuration is `restic-monitor/config.yaml` in it; else in `~/.config`",
    ),
    Variables(("HOME",), "the home folder: `~` of paths, and what stands for the two `XDG_…`"),
    Variables(("PATH",), "where restic, ssh and rclone are looked for"),
    Variables(("JOURNAL_STREAM",), "set by systemd: messages for the journal carry their priority"),
    Variables(("NO_COLOR",), "not empty: no colours"),
    Variables(("TERM",), "`dumb`: no live table"),
    Variables(
        ("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        "for listings and pushes, also in capitals. restic reads them itself, except `all_proxy`. This machine is never asked "
        "through a proxy. `no_proxy`: `host`, `host:port`, `.domain`, `10.0.0.0/8`, `*`",
    ),
    Variables(("SSL_CERT_FILE",), "authorities for listings and pushes instead of the system's"),
    Variables(("_RESTIC_MONITOR_COMPLETE",), "set by the completion scripts of the shells"),
)

OF_RESTIC = (
    Variables(
        ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND"),
        "the password, where the configuration names none; never read for a listing",
    ),
    Variables(("RESTIC_KEY_HINT",), "the key that the password opens, by the beginning of its name"),
    Variables(("RESTIC_CACHE_DIR",), "restic's cache, where there is no `cache_dir`"),
    Variables(
        ("RESTIC_CACERT", "RESTIC_TLS_CLIENT_CERT"),
        "as `cacert` and `tls_client_cert`, where these are not set; not for pushes",
    ),
    Variables(("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"), "who logs in to a rest-server, where `url` names nobody"),
    Variables(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        "keys of an S3 store; `AWS_ACCESS_KEY` and `AWS_SECRET_KEY` work, too",
    ),
    Variables(
        ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"),
        "the same, by the names of MinIO, where there are none of the above",
    ),
    Variables(
        ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"),
        "a profile and the files it stands in, where no keys are set; the files are `~/.aws/credentials` and `~/.aws/config` "
        "otherwise",
    ),
    Variables(("AWS_DEFAULT_REGION",), "the region, where `s3.region` of `restic_options` is not set"),
    Variables(("RESTIC_AWS_ASSUME_ROLE_ARN",), "a role that only restic assumes: such a repository cannot be listed"),
    Variables(
        ("RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE", "RESTIC_HOST"),
        "not passed on, and refused in `extra_env`: they would change what restic sees",
    ),
)
"""Of restic and its stores: from the process, the environment file or `extra_env`. A listing reads them itself."""


class Meaning(NamedTuple):
    """What a code leads to. What it means stands in `model.Code`."""

    statuses: tuple[Status, ...]
    remedy: str


CODES = {
    Code.OK: Meaning((Status.UP,), "nothing"),
    Code.WARN: Meaning((Status.WARN,), "look at it by day: [each of the warnings](listing.md#warnings)"),
    Code.STALE: Meaning(
        (Status.DOWN,),
        "[look at the backup](troubleshooting.md#messages-about-a-repository) on its host: its timer, its log",
    ),
    Code.MISSING: Meaning(
        (Status.DOWN,), "[wait for the first backup](troubleshooting.md#messages-about-a-repository), or correct `url`"
    ),
    Code.SMALL: Meaning(
        (Status.DOWN,),
        "look at what its host backs up: is a disk not mounted, an exclude too wide? If it was you: "
        "[`baseline`](configuration.md#sizes)",
    ),
    Code.ERROR: Meaning(
        (Status.DOWN, Status.UNKNOWN),
        "correct what the message names: [by restic](troubleshooting.md#messages-about-a-repository), "
        "[by a listing](troubleshooting.md#messages-of-a-listing)",
    ),
    Code.UNREACHABLE: Meaning(
        (Status.UNKNOWN,),
        "wait for the next run; then the network, the store, or `timeout`: "
        "[by restic](troubleshooting.md#messages-about-a-repository), [by a listing](troubleshooting.md#messages-of-a-listing)",
    ),
    Code.UNKNOWN: Meaning(
        (Status.UNKNOWN,),
        "wait for the next backup, or run more often: [a server without times](listing.md#when-the-server-tells-no-times)",
    ),
}
