"""The documented JSON (docs/json.md), version 1: fields are added, never renamed or removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
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
    look = {"source": result.source, "took_seconds": round(result.took.total_seconds(), 3)}
    return {**_part(report, result), **look, "lines": [_part(report, line) for line in report.lines(result)]}


def _part(report: Report, result: Result) -> dict[str, Any]:
    """What is said of a repository, and of each line of it."""
    newest = result.newest
    summary = newest.summary if newest else None
    return {
        "name": result.watch.name,
        "status": result.status.name.lower(),
        "code": result.code,
        "message": result.message,
        "newest": _moment(newest.time) if newest else None,
        "newest_id": newest.id if newest else None,
        "proved": _moment(newest.proved) if newest and newest.proved else None,
        "age_seconds": _seconds(result.age),
        "max_age_seconds": _seconds(result.watch.max_age),
        "limit_seconds": _seconds(result.limit),
        "files": summary.files if summary else None,
        "size_bytes": summary.size_bytes if summary else None,
        "snapshots": result.snapshots,
        "findings": list(result.findings),
        "notes": list(result.all_notes),
        "push": report.push(result),
        "push_message": report.push_message(result) or None,
    }


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _moment(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
