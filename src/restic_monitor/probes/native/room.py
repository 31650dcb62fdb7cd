"""How much one look may hold of what snapshots and locks say: a few kilobytes of a compressed file name a million paths."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from restic_monitor.model import Lock, Opened, Snapshot
from restic_monitor.repository import Damaged

_LIMIT_BYTES = 256 * 1024 * 1024
_ENTRY_BYTES = 100
"""What a dictionary takes for one, with the room that it keeps free."""


class Room:
    """Texts and lists that many files share are held once, so that an honest history of any length takes little of it."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._left = limit_bytes
        self._texts: dict[str, str] = {}
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}

    def hold(self, file: Opened) -> Opened:
        """The same, sharing what is known. Raises Damaged when there is no room for what is new in it."""
        if file.snapshot:
            return replace(file, snapshot=self._snapshot(file.snapshot))
        return replace(file, lock=self._lock(file.lock)) if file.lock else file

    def _snapshot(self, its: Snapshot) -> Snapshot:
        host, user, paths, tags = self._text(its.host), self._text(its.user), self._list(its.paths), self._list(its.tags)
        return replace(its, host=host, user=user, paths=paths, tags=tags)

    def _lock(self, its: Lock) -> Lock:
        return replace(its, host=self._text(its.host), user=self._text(its.user))

    def _list(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        if (held := self._lists.get(texts)) is None:
            new = {text for text in texts if text not in self._texts}
            self._take(texts, *new)
            self._texts.update(zip(new, new, strict=True))
            held = tuple(self._texts[text] for text in texts)
            self._lists[held] = held  # `texts` holds its own
        return held

    def _text(self, text: str) -> str:
        if (held := self._texts.get(text)) is None:
            self._take(text)
            held = self._texts[text] = text
        return held

    def _take(self, *new: str | tuple[str, ...]) -> None:
        """All or nothing: who finds no room takes none from others."""
        size = sum(map(sys.getsizeof, new)) + _ENTRY_BYTES * len(new)
        if size > self._left:
            raise Damaged("what all files name is more than there is room for")
        self._left -= size
