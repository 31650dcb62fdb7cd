"""Telling nobody: shows what another receiver would say."""

from __future__ import annotations

from dataclasses import dataclass

from restic_monitor.model import Delivery, Receiver, Result


@dataclass(frozen=True, slots=True)
class Dry:
    """Around a receiver, for `--no-push`."""

    receiver: Receiver

    def send(self, result: Result) -> Delivery:
        return Delivery(True, f"would push {self.preview(result)}")

    def preview(self, result: Result) -> str:
        return self.receiver.preview(result)
