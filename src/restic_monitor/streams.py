"""Standard output and error whose other end may go away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TextIO, cast

from restic_monitor.errors import ResticMonitorError


class Patient:
    """A stream whose reader may go away: what is written afterwards is lost, and nothing else changes.

    Any other failure is an error, once, unless the stream is `expendable`, as standard error is: what the program does
    and how it ends never depends on that.
    """

    def __init__(self, stream: TextIO, *, expendable: bool) -> None:
        self._stream = stream
        self._expendable = expendable

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # what still waits in the buffer goes there, too
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if not self._expendable and not isinstance(error, BrokenPipeError):
                raise ResticMonitorError(f"cannot write the output: {(error.strerror or 'failed').lower()}") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def patient(stream: TextIO | None, *, expendable: bool) -> TextIO:
    """Standard output or error as this program wants it: closed, full or in a narrow encoding, it goes on."""
    if stream is None:  # closed before we began
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, Patient(stream, expendable=expendable))
