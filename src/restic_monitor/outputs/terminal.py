"""The live table on a terminal: results as they come, a progress bar, colours. The only module that imports rich."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from restic_monitor.model import Event, Looking, Result, Status, one_line
from restic_monitor.outputs.report import Report
from restic_monitor.outputs.text import INDENT, notes, push_note, summary

_REFRESH_SECONDS = 0.125
_STYLES = {Status.UP: "green", Status.WARN: "yellow", Status.UNKNOWN: "magenta", Status.DOWN: "bold red"}


def console(stream: TextIO, environment: Mapping[str, str]) -> Console:
    """On `stream`; without colours when NO_COLOR is set (https://no-color.org)."""
    return Console(file=stream, no_color=bool(environment.get("NO_COLOR")), highlight=False, soft_wrap=False)


def table(report: Report) -> RenderableType:
    """The finished table and the line that counts."""
    lines = _grid()
    for result in report.shown:
        _row(lines, result, notes(result), push_note(report, result))
        for line in report.lines(result):
            _row(lines, line, notes(line), push_note(report, line) if line.watch.receivers else "", indent=INDENT)
    parts: list[RenderableType] = [lines] if report.shown else []
    if report.unfinished:
        parts.append(Text(f"interrupted; not finished: {', '.join(map(one_line, report.unfinished))}", style="yellow"))
    if not report.only_failing:
        parts.append(Text(summary(report), style="bold"))
    return Group(*parts)


class Watching:
    """Shows a run while it goes on; what it showed is gone afterwards, and the finished table takes its place."""

    def __init__(self, screen: Console, names: Sequence[str]) -> None:
        self._screen = screen
        self._names = names
        self._results: dict[str, Result] = {}
        self._looking: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("looking"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(), console=screen
        )
        self._task = self._bar.add_task("", total=len(names))

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        live = Live(
            get_renderable=self._render,
            console=self._screen,
            transient=True,
            auto_refresh=False,
            redirect_stderr=sys.stderr.isatty(),  # elsewhere it disturbs nothing, and belongs where the user sent it
        )
        with live, _refreshing(live):
            for event in events:
                if isinstance(event, Looking):
                    self._looking[event.name] = time.monotonic()
                else:
                    self._looking.pop(event.watch.name, None)
                    self._results[event.watch.name] = event
                    self._bar.update(self._task, completed=len(self._results))
                yield event

    def _render(self) -> RenderableType:
        """The newest results, as many as there is room for, then what is being looked at, then the bar."""
        lines = _grid()
        room = max(1, self._screen.size.height - len(self._looking) - 2)
        for result in list(self._results.values())[-room:]:
            _row(lines, result, notes(result), _pushed(result))
        for name, since in list(self._looking.items()):
            lines.add_row(Text("…", style="dim"), Text(one_line(name)), Text(f"{time.monotonic() - since:.0f}s", style="dim"))
        return Group(lines, self._bar)


@contextlib.contextmanager
def _refreshing(live: Live) -> Iterator[None]:
    """The table, and what is printed above it, in turn: each takes away the table that it believes to be there, and rich's own
    refreshing does not wait for the other."""
    turn, over = threading.Lock(), threading.Event()

    def refresh() -> None:
        while not over.wait(_REFRESH_SECONDS):
            with turn:
                live.refresh()

    redirected = sys.stderr
    if isinstance(redirected, FileProxy):
        sys.stderr = _InTurn(redirected, turn)
    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sys.stderr = redirected


class _InTurn:
    """Standard error, as `print` needs it."""

    def __init__(self, stream: FileProxy, turn: threading.Lock) -> None:
        self._stream, self._turn = stream, turn

    def write(self, text: str) -> int:
        with self._turn:
            return self._stream.write(text)

    def flush(self) -> None:
        with self._turn:
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _pushed(result: Result) -> str:
    """While the run goes on."""
    if result.deliveries is None:
        return "  …"
    return "" if all(part.told for part in result.parts) else "  [PUSH FAILED]"


def _grid() -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    lines.add_column(overflow="fold")
    return lines


def _row(lines: Table, result: Result, notes: str, pushed: str, *, indent: str = "") -> None:
    message = Text(result.message)
    message.append(notes, style="dim")
    message.append(pushed, style="bold red" if "FAILED" in pushed else "dim")
    status, name = Text(result.status.name, style=_STYLES[result.status]), Text(f"{indent}{one_line(result.watch.name)}")
    lines.add_row(status, name, message)
