"""The documented JSON (docs/json.md), version 1: fields are added, never renamed or removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from restic_monitor import __version__
from restic_monitor.model import Result
from restic_monitor.outputs.report import Report


def render(report: Report) -> str:
    document = {
        "version": 1,
        "program": f"restic-monitor {__version__}",
        "started": _moment(report.started),
        "results": [_result(report, result) for result in report.shown],
        "unfinished": list(report.unfinished),
        "warnings": list(report.warnings),
    }
    return json.dumps(document, indent=2) + "\n"  # ASCII: right in every locale


def _result(report: Report, result: Result) -> dict[str, Any]:
    newest = result.newest
    return {
        "name": result.watch.name,
        "status": result.status.name.lower(),
        "code": result.code,
        "message": result.message,
        "newest": _moment(newest.time) if newest else None,
        "newest_id": newest.id if newest else None,
        "age_seconds": None if result.age is None else int(result.age.total_seconds()),
        "max_age_seconds": None if result.watch.max_age is None else int(result.watch.max_age.total_seconds()),
        "snapshots": result.snapshots,
        "source": result.source,
        "findings": list(result.findings),
        "notes": list(result.notes),
        "took_seconds": round(result.took.total_seconds(), 3),
        "push": report.push(result),
        "push_message": report.push_message(result) or None,
    }


def _moment(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
