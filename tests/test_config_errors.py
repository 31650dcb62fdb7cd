"""One case for each mistake a user can make: the file, and every line that is said about it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from configs import problems
from restic_monitor.config import reader
from restic_monitor.errors import UsageError

KEYS = (
    "url, max_age, schedule, timezone, grace, mode, max_vanished, lock_max_age, min_files, min_size, max_shrink, baseline, "
    "push_url, push_token, password, password_file, password_command, insecure_no_password, restic, cache_dir, timeout, "
    "enabled, cacert, tls_client_cert, insecure_tls, restic_options, extra_env, expect"
)
TOP_KEYS = "jobs, connections, timeout, defaults, repositories"
SUPPORTED = 'only {{ .Name }} and {{ "{{" }} are supported'
QUOTES = 'put the value in quotes: "{{ .Name }}"'
SOURCES = "must be one value, or one of {from_file: …}, {from_env: …}, {from_credential: …}"
EXAMPLE = "write it like 1d, 6h, 90m, 2w or 1d12h"
COVER = "the healthy one would cover for the sick one; give each a push monitor of its own"
NO_PASSWORD = (
    "write password_file: PATH there or in defaults, or set RESTIC_PASSWORD, RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND "
    "in the environment or in an --environment-file"
)
BOTH_SET = "RESTIC_PASSWORD_FILE and RESTIC_PASSWORD_COMMAND are both set"
NEEDS_SYSTEMD = "the credential web needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=web:PATH"
NO_CREDENTIAL = "is not the name of a credential; it is one in $CREDENTIALS_DIRECTORY, without a path"
TWO_TOKENS = "push_url ends in a token already; remove push_token, or end push_url in /api/push/"
TWO_REPOSITORIES = "repositories:\n  web: {push_token: a}\n  db: {push_token: b}\n"
STARTER = "restic-monitor init writes a file to start from"
MODES = "the modes are auto, native, fast, listing, restic"
VANISHED = "is neither a number of snapshots, like 20, nor a share of them, like 50%"
WEB = "repositories: {web: {url: /srv}}\n"
NO_KEY = (
    "unknown key; another repository stands further to the left, the name of what is expected below expect: and to the right"
)
TOO_MUCH = "its aliases expand to too much, too deep or to themselves; write the values out"


@dataclass(frozen=True)
class Case:
    """`here` is put into a repository named web that is well otherwise; `text` is a whole file."""

    mistake: str
    lines: list[str]
    text: str = ""
    here: str = ""
    env: dict[str, str] = field(default_factory=lambda: {"RESTIC_PASSWORD": "canary-password"})

    @property
    def file(self) -> str:
        return self.text or f"repositories:\n  web:\n    url: /srv/web\n    {self.here}\n"


def line(number: int, rest: str) -> str:
    return f"line {number}: {rest}"


def web(rest: str) -> list[str]:
    """About line 4, where `here` stands."""
    return [line(4, f"repositories.web.{rest}")]


STRUCTURE = [
    Case("empty", [line(1, f"it is empty; {STARTER}")], text=" \n"),
    Case("only comments", [line(1, f"it is empty; {STARTER}")], text="# nothing yet\n"),
    Case("only null", [line(1, f"it is empty; {STARTER}")], text="~\n"),
    Case("a list", [line(1, f"it is not a mapping of keys to values; {STARTER}")], text="- a\n- b\n"),
    Case("a word", [line(1, f"it is not a mapping of keys to values; {STARTER}")], text="hello\n"),
    Case("JSON text", [line(1, f"it is not a mapping of keys to values; {STARTER}")], text='"hello"\n'),
    Case(
        "no repositories",
        [line(1, "repositories: names no repository; add one below it, for instance web-server: {}")],
        text="defaults: {max_age: 1d}\n",
    ),
    Case(
        "repositories without any",
        [line(2, "repositories: names no repository; add one below it, for instance web-server: {}")],
        text="defaults:\nrepositories:\n",
    ),
    Case(
        "repositories not indented",
        [
            line(1, "repositories: names no repository; add one below it, for instance web-server: {}"),
            line(2, f"web: unknown key; the keys are {TOP_KEYS}"),
        ],
        text="repositories:\nweb:\n  url: /srv/web\n",
    ),
    Case(
        "repositories as a list", [line(2, "repositories: must be keys with values, not a list")], text="repositories:\n- web\n"
    ),
    Case(
        "repositories as a word",
        [line(1, "repositories: must be keys with values, not a single value")],
        text="repositories: web\n",
    ),
    Case(
        "a repository as an address",
        [line(2, "repositories.web: must be keys with values, not a single value")],
        text="repositories:\n  web: /srv/web\n",
    ),
    Case(
        "a repository as a list",
        [line(3, "repositories.web: must be keys with values, not a list")],
        text="repositories:\n  web:\n  - url: /srv/web\n",
    ),
    Case(
        "defaults as a list",
        [line(2, "defaults: must be keys with values, not a list")],
        text="defaults:\n- max_age: 1d\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "a repository without a name",
        [line(2, "repositories.'': a repository's name is one line of visible characters")],
        text="repositories:\n  '': {url: /srv}\n",
    ),
    Case(
        "a name of two lines",
        [line(2, "repositories.'a\\nb': a repository's name is one line of visible characters")],
        text='repositories:\n  "a\\nb": {url: /srv}\n',
    ),
    Case(
        "a name that is null",
        [
            line(2, "repositories: null cannot be a key; put it in quotes if it is a name"),
            line(1, "repositories: names no repository; add one below it, for instance web-server: {}"),
        ][::-1],
        text="repositories:\n  null: {url: /srv}\n",
    ),
    Case(
        "the same repository twice",
        [line(3, "repositories.web: stands twice; the first is in line 2")],
        text="repositories:\n  web: {url: /srv}\n  web: {url: /srv}\n",
    ),
    Case(
        "the same section twice",
        [line(2, "repositories: stands twice; the first is in line 1")],
        text="repositories: {web: {url: /srv}}\nrepositories: {db: {url: /srv}}\n",
    ),
    Case(
        "none enabled",
        [line(3, "repositories: none is enabled, so there is nothing to look at; remove an enabled: false")],
        text="defaults: {enabled: no}\nrepositories:\n  web: {url: /srv}\n",
    ),
    Case(
        "an alias bomb",
        [line(1, TOO_MUCH)],
        text="x-0: &a0 [1]\n" + "".join(f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    ),
    Case("an alias to itself", [line(1, TOO_MUCH)], text="repositories: &a {web: *a}\n"),
    Case("deep nesting", [line(1, "not YAML: nested too deeply")], text="x-a: " + "[" * 500 + "]" * 500 + "\n"),
]

UNKNOWN = [
    Case("a typo", web("push_tokn: unknown key; did you mean push_token?"), here="push_tokn: canary"),
    Case("camel case", web("maxAge: unknown key; did you mean max_age?"), here="maxAge: 1d"),
    Case("a dash", web("password-file: unknown key; did you mean password_file?"), here="password-file: /p"),
    Case("capitals", web("URL: unknown key; did you mean url?"), here="URL: /srv"),
    Case("a key of nobody", web(f"interval: unknown key; the keys are {KEYS}"), here="interval: 5m"),
    Case("a key twice", web("url: stands twice; the first is in line 3"), here="url: /srv/other"),
    Case(
        "no blank behind the colon",
        web("'password…': unknown key; write key: value, with a blank behind the colon"),
        here="? password:canary",
    ),
    Case("a top-level key in a repository", web("jobs: belongs at the top level of the file"), here="jobs: 4"),
    Case(
        "a key of repositories on top",
        [line(1, "max_age: belongs in defaults or in a repository")],
        text="max_age: 1d\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "a section misspelled",
        [line(1, "default: unknown key; did you mean defaults?")],
        text="default: {max_age: 1d}\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "an unknown key on top",
        [line(1, f"version: unknown key; the keys are {TOP_KEYS}")],
        text="version: 1\nrepositories: {web: {url: /srv}}\n",
    ),
    Case("a key for anchors elsewhere than on top", web(f"x-a: unknown key; the keys are {KEYS}"), here="x-a: 1"),
    Case("a repository inside a repository", web(f"'db.1': {NO_KEY}"), here="db.1: {}"),
    Case(
        "a push_token in defaults",
        [line(1, "defaults.push_token: belongs in a repository, not in defaults: each needs a push monitor of its own")],
        text="defaults: {push_token: canary}\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "a typo behind an anchor",
        [
            line(1, "repositories.web.ur: unknown key; did you mean url?"),
        ],
        text="x-a: &a {ur: /srv}\nrepositories: {web: *a}\n",
    ),
]

VALUES = [
    Case(
        "an empty address", web("url: is empty; write a value or remove the key"), text="repositories:\n  web:\n\n    url: ''\n"
    ),
    Case(
        "no address",
        [line(2, "repositories.web: no url, here or in defaults; write url: and restic's address of it")],
        text="repositories:\n  web: {}\n",
    ),
    Case("a list of addresses", web("url: must be one value, not a list"), text="repositories:\n  web:\n\n    url: [/a, /b]\n"),
    Case("an unquoted template", web(f"restic: {QUOTES}"), here="restic: {{ .Name }}"),
    Case(
        "an unquoted template and more",
        [line(4, 'not YAML: a value that begins with {{ needs quotes: url: "{{ .Name }}"')],
        here="cache_dir: {{ .Name }}/x",
    ),
    Case(
        "another field in a template",
        web(f"cache_dir: {{{{ .name }}}} is not supported; {SUPPORTED}"),
        here='cache_dir: "/{{ .name }}"',
    ),
    Case(
        "a function in a template",
        web(f"cache_dir: this template is not supported; {SUPPORTED}"),
        here="cache_dir: '/{{ env \"HOME\" }}'",
    ),
    Case(
        "a template without end", web(f"cache_dir: a {{{{ has no }}}} behind it; {SUPPORTED}"), here='cache_dir: "/{{ .Name }"'
    ),
    Case(
        "a bad template in the path of a secret",
        web(f"password_file.from_file: this template is not supported; {SUPPORTED}"),
        here='password_file: {from_file: "/{{ Name }}"}',
    ),
    Case(
        "a bad template in defaults is said once, and no url is not missing",
        [line(1, f"defaults.url: {{{{ .Nam }}}} is not supported; {SUPPORTED}")],
        text='defaults: {url: "/srv/{{ .Nam }}"}\nrepositories: {web: {}, db: {}}\n',
    ),
    Case(
        "a bad template in a push address shows no token",
        web(f"push_url: this template is not supported; {SUPPORTED}"),
        here='push_url: "https://host/api/push/{{ canary }}"',
    ),
    Case(
        "an open template in a push address shows no token",
        web(f"push_url: a {{{{ has no }}}} behind it; {SUPPORTED}"),
        here='push_url: "https://host/api/push/{{canary"',
    ),
    Case("a number for a duration", web(f"max_age: '24' has no unit; {EXAMPLE}, for instance 24h or 24d"), here="max_age: 24"),
    Case("a negative duration", web(f"max_age: '-1d' is not a duration; {EXAMPLE}"), here="max_age: -1d"),
    Case(
        "days spelled out",
        web("max_age: '1day': 'day' is not a unit of time; the units are w, d, h, m (minutes) and s"),
        here="max_age: 1day",
    ),
    Case("no time at all", web(f"timeout: '0s' is no time at all; {EXAMPLE}"), here="timeout: 0s"),
    Case("an empty duration", web(f"max_age: '' is not a duration; {EXAMPLE}"), here="max_age: ''"),
    Case("no mode", web(f"mode: 'quick' is no mode; {MODES}"), here="mode: quick"),
    Case("an empty mode", web(f"mode: '' is no mode; {MODES}"), here="mode: ''"),
    Case("a switch for a mode", web(f"mode: 'true' is no mode; {MODES}"), here="mode: true"),
    Case(
        "a mode in defaults", [line(1, f"defaults.mode: 'list' is no mode; {MODES}")], text=f"defaults: {{mode: list}}\n{WEB}"
    ),
    Case("two modes", web("mode: must be one value, not a list"), here="mode: [fast, restic]"),
    *(
        Case(
            f"a mode {source}", web("mode: must stand in this file as a plain value, like listing"), here=f"mode: {{{source}}}"
        )
        for source in ("from_file: mode", "from_env: MODE", "from_credential: mode")
    ),
    Case(
        "a storage that cannot be listed",
        [line(5, "repositories.web.mode: listing is not possible: b2 cannot be listed yet; use mode: restic")],
        text="repositories:\n  web:\n    url: b2:bucket\n    push_url: https://kuma/push/t\n    mode: listing\n",
    ),
    Case(
        "storages that cannot be listed, by default",
        [
            line(1, f"defaults.mode: listing is not possible: {name} cannot be listed yet; use mode: restic")
            for name in ("azure", "gs", "swift")
        ],
        text="defaults: {mode: listing}\nrepositories: {a: {url: azure:c:/}, b: {url: gs:b:/}, c: {url: swift:c:/}}\n",
    ),
    Case(
        "a role that only restic assumes",
        web(
            "mode: listing is not possible: only restic assumes the role of RESTIC_AWS_ASSUME_ROLE_ARN; use mode: restic",
        ),
        text="repositories:\n  web:\n    url: s3:https://host/bucket\n    mode: listing\n",
        env={"RESTIC_AWS_ASSUME_ROLE_ARN": "arn:aws:iam::1:role/backup"},
    ),
    Case(
        "a secret that rclone would show",
        web(
            "mode: listing is not possible: the address holds a secret, which rclone would show in the list of processes; "
            "use mode: restic"
        ),
        text='repositories:\n  web:\n    url: "rclone::s3,secret_access_key=canary:bucket"\n    mode: listing\n',
    ),
    Case(
        "a socket that cannot be listed",
        web("mode: listing is not possible: a rest-server behind a Unix socket cannot be listed yet; use mode: restic"),
        text='repositories:\n  web:\n    url: "rest:http+unix:///run/rest.sock:/web/"\n    mode: listing\n',
    ),
    Case(
        "no password for what cannot be listed",
        [
            line(
                2,
                "repositories.web.url: no password, and b2 cannot be listed yet; write password_file: PATH for restic, "
                "or an address that can be listed: s3:, sftp:, rest:, rclone:",
            )
        ],
        text="repositories:\n  web: {url: b2:bucket}\n",
        env={},
    ),
    Case(
        "two ways to the same server",
        web("url: sftp.command and sftp.args are both set; restic takes one of them"),
        text="repositories:\n  web:\n    restic_options: [sftp.command=ssh nas, sftp.args=-v]\n    url: sftp:nas:/srv\n",
        env={},
    ),
    *(
        Case(f"{value!r} for max_vanished", web(f"max_vanished: {value!r} {VANISHED}"), here=f"max_vanished: '{value}'")
        for value in ("", "%", "many", "-1", "1.5", "12345678", "101%", "-1%", "50 percent", "1e3", "½")
    ),
    Case("neither true nor false", web("enabled: 'maybe' is neither true nor false"), here="enabled: maybe"),
    Case("a number for a switch", web("insecure_tls: '1' is neither true nor false"), here="insecure_tls: 1"),
    Case(
        "a switch from elsewhere",
        web("enabled: must stand in this file as a plain value, like true"),
        here="enabled: {from_env: ENABLED}",
    ),
    Case(
        "jobs in words",
        [line(1, "jobs: 'many' is not a whole number from 1 to 10000")],
        text="jobs: many\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "no jobs",
        [line(1, "jobs: '0' is not a whole number from 1 to 10000")],
        text="jobs: 0\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "half a job",
        [line(1, "jobs: '1.5' is not a whole number from 1 to 10000")],
        text="jobs: 1.5\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "too many connections",
        [line(1, "connections: '10001' is not a whole number from 1 to 10000")],
        text="connections: 10001\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "jobs from elsewhere",
        [line(1, "jobs: must stand in this file as a plain value, like 8")],
        text="jobs: {from_env: JOBS}\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "a time limit without a unit",
        [line(1, f"timeout: '120' has no unit; {EXAMPLE}, for instance 120h or 120d")],
        text="timeout: 120\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "an option without a value",
        web("restic_options: 's3.region' is not an option of restic; write key=value, for instance s3.bucket-lookup=path"),
        here="restic_options: [s3.region]",
    ),
    Case(
        "a flag for an option",
        web(
            "restic_options: '-o s3.region=eu' is not an option of restic; write key=value, for instance s3.bucket-lookup=path"
        ),
        here="restic_options: -o s3.region=eu",
    ),
    Case("options with keys", web(f"restic_options: {SOURCES}"), here="restic_options: {s3.region: eu}"),
    Case(
        "options in a list of lists",
        web("restic_options: must be one value, not a list"),
        here="restic_options: [[s3.region=eu]]",
    ),
    Case(
        "a home folder of nobody",
        web("cache_dir: begins with ~, but no such home folder is known; write the whole path"),
        here="cache_dir: ~no-such-user/x",
    ),
    Case(
        "a NUL", web("password: holds a NUL or half a character, which no program can be given"), here='password: "a\\0canary"'
    ),
]

EXTRA_ENV = [
    Case("a list", web("extra_env: must be keys with values, not a list"), here="extra_env: [A=canary]"),
    Case("a word", web("extra_env: must be keys with values, not a single value"), here="extra_env: A=canary"),
    Case(
        "a template", web("extra_env: must be keys with values, not a template without quotes"), here="extra_env: {{ .Name }}"
    ),
    Case("a list of values", web("extra_env.A: must be one value, not a list"), here="extra_env: {A: [canary]}"),
    Case(
        "no blank behind the colon",
        web("extra_env.'A…': is not the name of an environment variable; write NAME: value"),
        here="extra_env: {A:canary}",
    ),
    Case(
        "an equals sign",
        web("extra_env.'A…': is not the name of an environment variable; write NAME: value"),
        here="extra_env: {A=canary: }",
    ),
    Case(
        "a name with a blank",
        web("extra_env.'A B': is not the name of an environment variable; write NAME: value"),
        here="extra_env: {A B: canary}",
    ),
    Case(
        "the repository",
        web("extra_env.RESTIC_REPOSITORY: is not passed on: write the repository's address as url"),
        here="extra_env: {RESTIC_REPOSITORY: /srv}",
    ),
    Case(
        "the repository's file",
        web("extra_env.RESTIC_REPOSITORY_FILE: is not passed on: write url: {from_file: PATH}"),
        here="extra_env: {RESTIC_REPOSITORY_FILE: /srv}",
    ),
    Case(
        "a host",
        web("extra_env.RESTIC_HOST: is not passed on: it would hide the snapshots of all other hosts"),
        here="extra_env: {RESTIC_HOST: web}",
    ),
    Case(
        "a variable of ours",
        web("extra_env.RESTIC_MONITOR_CONFIG: is not passed on: it is our own"),
        here="extra_env: {RESTIC_MONITOR_CONFIG: /x}",
    ),
    Case(
        "a pair in two places",
        [
            line(
                3,
                "repositories.web: AWS_ACCESS_KEY_ID comes from repositories.web.extra_env but AWS_SECRET_ACCESS_KEY from "
                "defaults.extra_env: a later place replaces the whole group of credentials; set both in one place",
            )
        ],
        text="defaults: {url: /srv, extra_env: {AWS_SECRET_ACCESS_KEY: canary}}\nrepositories:\n"
        "  web: {extra_env: {AWS_ACCESS_KEY_ID: canary}}\n",
    ),
]

PASSWORDS = [
    Case("none at all", [line(2, f"repositories: no password for web; {NO_PASSWORD}")], here="mode: restic", env={}),
    Case(
        "none for many is one line",
        [line(3, f"repositories: no password for a, b, c, d, e and 2 more; {NO_PASSWORD}")],
        text="defaults: {url: /srv, mode: restic}\nrepositories:\n" + "".join(f"  {name}:\n" for name in "abcdefg"),
        env={},
    ),
    Case(
        "an empty one is none",
        [line(2, f"repositories: no password for web; {NO_PASSWORD}")],
        here="mode: restic",
        env={"RESTIC_PASSWORD": ""},
    ),
    Case(
        "a default that the repository removes",
        [line(3, f"repositories: no password for web; {NO_PASSWORD}")],
        text="defaults: {url: /srv, mode: restic, extra_env: {RESTIC_PASSWORD: canary}}\nrepositories:\n"
        "  web: {extra_env: {RESTIC_PASSWORD: null}}\n  db: {}\n",
        env={},
    ),
    Case("an empty password", web("password: is empty; write a value or remove the key"), here="password: ''", env={}),
    Case(
        "two ways",
        [line(5, "repositories.web.password_file: password (line 4) is set too; keep one of them")],
        here="password: canary\n    password_file: /p",
    ),
    Case(
        "a password and none",
        [line(4, "repositories.web.insecure_no_password: password_command (line 5) is set too; keep one of them")],
        here="insecure_no_password: yes\n    password_command: pass show web",
    ),
    Case(
        "three ways in defaults",
        [
            line(1, "defaults.password_file: password (line 1) is set too; keep one of them"),
            line(1, "defaults.password_command: password (line 1) is set too; keep one of them"),
        ],
        text="defaults: {password: canary, password_file: /p, password_command: c}\nrepositories: {web: {url: /srv}}\n",
    ),
    Case(
        "both a file and a command in the environment",
        [
            line(
                2,
                f"repositories: {BOTH_SET} in the environment; keep one of them",
            )
        ],
        env={"RESTIC_PASSWORD_FILE": "/p", "RESTIC_PASSWORD_COMMAND": "c"},
    ),
    Case(
        "a missing file",
        web("password_file: cannot read missing: no such file or directory"),
        here="password_file: missing",
        env={},
    ),
    Case("a folder for a file", web("password_file: cannot read folder: is a directory"), here="password_file: folder", env={}),
    Case("an empty file", web("password_file: empty is empty"), here="password_file: empty", env={}),
    Case(
        "a missing file in the environment",
        [line(2, "RESTIC_PASSWORD_FILE of the environment: cannot read /nonexistent: no such file or directory")],
        env={"RESTIC_PASSWORD_FILE": "/nonexistent"},
    ),
    Case(
        "a missing file in the environment is one mistake for many",
        [line(3, "RESTIC_PASSWORD_FILE of the environment: cannot read /nonexistent: no such file or directory")],
        text="defaults: {url: /srv}\nrepositories:\n  web: {}\n  db: {}\n",
        env={"RESTIC_PASSWORD_FILE": "/nonexistent"},
    ),
    Case(
        "a missing file in extra_env of the defaults",
        [line(1, "defaults.extra_env.RESTIC_PASSWORD_FILE: cannot read /nonexistent: no such file or directory")],
        text="defaults: {url: /srv, extra_env: {RESTIC_PASSWORD_FILE: /nonexistent}}\nrepositories:\n  web: {}\n  db: {}\n",
        env={},
    ),
    Case(
        "a wrong one is not missing, too",
        web("password_file: must be one value, not a list"),
        here="password_file: [a]",
        env={},
    ),
]

SECRETS = [
    Case("two sources", web(f"password: {SOURCES}"), here="password: {from_file: a, from_env: b}"),
    Case("an unknown source", web(f"password: {SOURCES}"), here="password: {from_vault: canary}"),
    Case("a source without a name", web(f"password: {SOURCES}"), here="password: {from_file: }"),
    Case("a password in braces", web(f"password: {SOURCES}"), here="password: {canary}"),
    Case("no source", web(f"password: {SOURCES}"), here="password: {}"),
    Case(
        "a missing file", web("password: cannot read missing: no such file or directory"), here="password: {from_file: missing}"
    ),
    Case("a folder", web("password: cannot read folder: is a directory"), here="password: {from_file: folder}"),
    Case("an empty file", web("password: {from_file: empty} is empty"), here="password: {from_file: empty}"),
    Case("only a line end", web("password: {from_file: newline} is empty"), here="password: {from_file: newline}"),
    Case("not text", web("password: binary is not UTF-8 text"), here="password: {from_file: binary}"),
    Case("too large", web("password: large is larger than 1 MiB"), here="password: {from_file: large}"),
    Case(
        "a NUL in a file",
        web("password: what {from_file: nul} holds is not fit for password"),
        here="password: {from_file: nul}",
    ),
    Case(
        "a variable that is not set",
        web("password: the environment variable NOPE is not set"),
        here="password: {from_env: NOPE}",
    ),
    Case(
        "an empty variable",
        web("password: {from_env: E} is empty"),
        here="password: {from_env: E}",
        env={"E": "", "RESTIC_PASSWORD": "x"},
    ),
    Case(
        "a credential outside systemd",
        web(f"password: {NEEDS_SYSTEMD}"),
        here="password: {from_credential: web}",
    ),
    Case(
        "a credential that is not there",
        web("password: there is no credential web; the unit needs LoadCredential=web:PATH"),
        here="password: {from_credential: web}",
        env={"CREDENTIALS_DIRECTORY": "/nonexistent"},
    ),
    Case(
        "the path of a credential outside systemd",
        web(f"password_file: {NEEDS_SYSTEMD}"),
        here="password_file: {credential_path: web}",
    ),
    Case(
        "the path of a credential that is not there",
        web("password_file: there is no credential web; the unit needs LoadCredential=web:PATH"),
        here="password_file: {credential_path: web}",
        env={"CREDENTIALS_DIRECTORY": "/nonexistent"},
    ),
    Case(
        "the path of a credential where its text is wanted",
        web("password.credential_path: gives the path of a file, and password wants the text: {from_credential: web}"),
        here="password: {credential_path: web}",
    ),
    Case(
        "the path of a credential with a folder",
        web(f"extra_env.RCLONE_CONFIG.credential_path: '../x' {NO_CREDENTIAL}"),
        here="extra_env: {RCLONE_CONFIG: {credential_path: ../x}}",
    ),
    Case(
        "the path of a credential with a folder, in an option",
        web(f"restic_options: 'a/b' {NO_CREDENTIAL}"),
        here='restic_options: ["sftp.args=-i {credential_path: a/b}"]',
    ),
    Case(
        "the path of a credential in an option, without quotes",
        [line(4, 'repositories.web.restic_options: put the option in quotes: "key=… {credential_path: NAME}"')],
        text="repositories:\n  web:\n    restic_options:\n    - sftp.args=-i {credential_path: key}\n    url: /srv\n",
    ),
    Case(
        "the path of a credential in an option outside systemd",
        web(
            "restic_options: the credential key needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with "
            "LoadCredential=key:PATH"
        ),
        here='restic_options: ["sftp.args=-i {credential_path: key}"]',
    ),
    *(
        Case(
            f"a credential called {name}",
            web(f"password.from_credential: {name!r} {NO_CREDENTIAL}"),
            here=f"password: {{from_credential: {name}}}",
            env={"CREDENTIALS_DIRECTORY": "/etc"},
        )
        for name in ("../passwd", "/etc/passwd", "..", ".", "a/b", "a b")
    ),
    Case(
        "a duration from a file that is none, not quoted",
        web("max_age: what {from_file: canary} holds is not fit for max_age"),
        here="max_age: {from_file: canary}",
    ),
    Case(
        "a template from a variable, not quoted",
        web("cache_dir: what {from_env: T} holds is not fit for cache_dir"),
        here="cache_dir: {from_env: T}",
        env={"T": "{{ .canary }}", "RESTIC_PASSWORD": "x"},
    ),
    Case(
        "an option from a variable, not quoted",
        web("restic_options: what {from_env: T} holds is not fit for restic_options"),
        here="restic_options: [{from_env: T}]",
        env={"T": "canary", "RESTIC_PASSWORD": "x"},
    ),
    Case(
        "a certificate that is not there", web("cacert: cannot read missing: no such file or directory"), here="cacert: missing"
    ),
    Case("a client certificate that is empty", web("tls_client_cert: empty is empty"), here="tls_client_cert: empty"),
    Case(
        "a secret of extra_env",
        web("extra_env.B2_ACCOUNT_KEY: cannot read missing: no such file or directory"),
        here="extra_env: {B2_ACCOUNT_ID: i, B2_ACCOUNT_KEY: {from_file: missing}}",
    ),
]

PUSH = [
    Case(
        "a token without an address",
        web("push_token: push_token without a push_url, here or in defaults: where is Uptime Kuma?"),
        here="push_token: canary",
    ),
    Case(
        "an address without a token",
        web("push_url: ends without a token, and there is no push_token; add it, or end push_url in the token"),
        here="push_url: https://kuma.example.com/api/push/",
    ),
    Case(
        "an address without a scheme",
        web("push_url: push_url must be an address like https://uptime-kuma.example.com/api/push/"),
        here="push_url: kuma/api/push/canary",
    ),
    Case(
        "two tokens",
        [
            line(
                5,
                f"repositories.web.push_token: {TWO_TOKENS}",
            )
        ],
        here="push_url: https://kuma/api/push/canary-a\n    push_token: canary-b",
    ),
    Case(
        "one token for two",
        [
            line(4, f"repositories.db.push_token: the same push address as repositories.web (line 3): {COVER}"),
            line(5, f"repositories.x.push_token: the same push address as repositories.web (line 3): {COVER}"),
        ],
        text="defaults: {url: /srv, push_url: https://kuma/}\nrepositories:\n  web: {push_token: canary}\n"
        "  db: {push_token: canary}\n  x: {push_token: canary}\n",
    ),
    Case(
        "one monitor by http and https",
        [line(3, f"repositories.db.push_url: the same push address as repositories.web (line 2): {COVER}")],
        text="repositories:\n  web: {url: /srv, push_url: https://kuma/api/push/canary}\n"
        "  db: {url: /srv, push_url: http://kuma/api/push/canary}\n",
    ),
    Case(
        "one address for all in defaults",
        [line(4, f"repositories.db.push_url: the same push address as repositories.web (line 3): {COVER}")],
        text="defaults: {url: /srv, push_url: https://kuma/api/push/canary}\nrepositories:\n  web: {}\n  db: {}\n",
    ),
    Case(
        "a variable that is not set is said once, and no address is missing",
        [line(1, "defaults.push_url: the environment variable KUMA is not set")],
        text=f"defaults: {{url: /srv, push_url: {{from_env: KUMA}}}}\n{TWO_REPOSITORIES}",
    ),
    Case(
        "a wrong address in defaults is said once, and none is missing",
        [line(1, f"defaults.push_url: {{{{ .nam }}}} is not supported; {SUPPORTED}")],
        text='defaults: {url: /srv, push_url: "https://kuma/{{ .nam }}"}\n' + TWO_REPOSITORIES,
    ),
]

CASES = {
    "structure": STRUCTURE,
    "unknown": UNKNOWN,
    "values": VALUES,
    "extra_env": EXTRA_ENV,
    "passwords": PASSWORDS,
    "secrets": SECRETS,
    "push": PUSH,
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{part}: {case.mistake}") for part, cases in CASES.items() for case in cases]
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(tmp_path: Path, case: Case) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "newline").write_text("\n")
    (tmp_path / "canary").write_text("the canary is 1 day old")
    (tmp_path / "binary").write_bytes(b"\xff\xfecanary")
    (tmp_path / "nul").write_bytes(b"can\0ary")
    (tmp_path / "large").write_bytes(b"canary" * 200_000)
    began = time.monotonic()
    found = problems(tmp_path, case.file, case.env)
    assert time.monotonic() - began < 1
    assert found == case.lines
    assert not [text for text in found if "canary" in text.replace("{from_file: canary}", "").replace("{{ .canary }}", "")]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
jobs: many
defaults:
  max_age: 1
  push_url: kuma
repositories:
  web:
    ur: /srv
    password: {from_file: missing}
  db:
    url: /srv
    max_age: soon
    max_age: 1d
    extra_env:
      A: [1]
      B: {from_env: NOPE}
    mode: auto
"""
    assert problems(tmp_path, text, {}) == [
        "line 1: jobs: 'many' is not a whole number from 1 to 10000",
        f"line 3: defaults.max_age: '1' has no unit; {EXAMPLE}, for instance 1h or 1d",
        "line 4: defaults.push_url: push_url must be an address like https://uptime-kuma.example.com/api/push/",
        "line 7: repositories.web.ur: unknown key; did you mean url?",
        "line 8: repositories.web.password: cannot read missing: no such file or directory",
        f"line 11: repositories.db.max_age: 'soon' is not a duration; {EXAMPLE}",
        "line 12: repositories.db.max_age: stands twice; the first is in line 11",
        "line 14: repositories.db.extra_env.A: must be one value, not a list",
        "line 15: repositories.db.extra_env.B: the environment variable NOPE is not set",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\0:\0 \0b\0", "is not UTF-8 text"),
        (b"a: \xe4\n", "is not UTF-8 text"),
        (b"a: b\n" * 300_000, "is larger than 1 MiB"),
    ],
)
def test_what_is_no_small_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        reader.read(file)
    assert str(error.value) == f"{file} {message}"


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfrepositories: {w\xc3\xa4b: {url: /srv}}\n", b"repositories:\r\n  w\xc3\xa4b:\r\n    url: /srv\r\n"],
)
def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    read = reader.read(file)
    assert read.problems.found == {}
    assert [(block.name, block.settings["url"].raw) for block in read.repositories] == [("wäb", "/srv")]
