"""Telling nobody: shows what another receiver would say."""

from __future__ import annotations

from msgspec import Struct

from restic_monitor.model import Delivery, Receiver, Result


class Dry(Struct, frozen=True):
    """Around a receiver, for `--no-push`."""

    receiver: Receiver

    def send(self, result: Result) -> Delivery:
        return Delivery(True, f"would push {self.preview(result)}")

    def preview(self, result: Result) -> str:
        return self.receiver.preview(result)
