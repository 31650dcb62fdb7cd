"""`restic-monitor config schema`: the configuration's schema for editors."""

from __future__ import annotations

import json

from restic_monitor.config.schema import schema


def show() -> int:
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return 0
