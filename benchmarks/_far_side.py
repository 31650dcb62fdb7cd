"""The stand-in of store.py, from the side of whoever starts it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Counts:
    """What came to one of its ports. `failed` are the requests that were not answered with 200."""

    requests: int = 0
    failed: int = 0
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    """Its ports on 127.0.0.1."""

    s3: int
    kuma: int
    counts: int

    @property
    def url(self) -> str:
        """For the configuration."""
        return f"s3:http://127.0.0.1:{self.s3}/restic-{{{{ .Name }}}}"

    def counted(self) -> dict[str, Counts]:
        """Of `s3` and `kuma`, since the last time."""
        with socket.create_connection(("127.0.0.1", self.counts)) as connected, connected.makefile("rb") as file:
            return {name: Counts(**values) for name, values in json.loads(file.read()).items()}


def store(buckets: int, snapshots: int, latency_seconds: float) -> AbstractContextManager[Store]:
    """In a process of its own, for as long as the `with`. `snapshots` are in each bucket."""
    return _started({"--buckets": buckets, "--snapshots": snapshots, "--latency": latency_seconds})


def store_of(folder: Path, latency_seconds: float) -> AbstractContextManager[Store]:
    """The same, with the folders in `folder` for buckets."""
    return _started({"--folder": folder, "--latency": latency_seconds})


@contextmanager
def _started(options: Mapping[str, object]) -> Iterator[Store]:
    program = Path(__file__).with_name("store.py")
    command = [sys.executable, str(program), *(str(word) for pair in options.items() for word in pair)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Store(**json.loads(process.stdout.readline()))
        finally:
            process.kill()
