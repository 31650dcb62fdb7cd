"""Signals that end a run: the first in order, the second at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from restic_monitor.monitor import Monitor


@contextmanager
def stopping(monitor: Monitor) -> Iterator[list[int]]:
    """The first SIGINT, SIGTERM or SIGHUP (unless ignored, as by nohup) stops the run in order, the next one at once.

    Those that came are in the list.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        monitor.stop()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
