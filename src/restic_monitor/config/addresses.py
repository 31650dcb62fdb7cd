"""Push addresses of a whole configuration: put together, and no two repositories or expectations with the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Struct

from restic_monitor.config.draft import Block, Draft, Expected, Setting
from restic_monitor.config.problems import Place, dotted
from restic_monitor.config.sources import Source
from restic_monitor.config.values import Values
from restic_monitor.receivers import uptime_kuma

Addresses = dict[str, dict[str | None, uptime_kuma.Address]]
"""Of each repository by its name: of its expectations by theirs, and its own by None."""


class _Owner(Struct, frozen=True):
    """A repository, or one of its expectations, that is told of somewhere. The first of `parts` decides."""

    block: Block
    expected: Expected | None
    parts: tuple[Setting, ...]

    @property
    def path(self) -> str:
        """Of a default, that of the repository that has it."""
        of = dotted("repositories", self.block.name)
        return dotted(f"{of}.expect", self.expected.name) if self.expected else of

    @property
    def place(self) -> Place:
        return self.block.place if self.parts[0].default else self.parts[0].place


def push_addresses(values: Values, reading: Collection[str]) -> Addresses:
    """Of all enabled repositories, selected or not: a healthy one must not cover for a sick one.

    Where the address does not stand in the file, only of those whose secrets are to be read.
    """
    draft = values.draft
    found: Addresses = {}
    owners: dict[tuple[str, str], _Owner] = {}
    for owner in _owners(draft):
        if owner.block.name not in reading and any(isinstance(part.raw, Source) for part in owner.parts):
            continue
        address = _address(values, owner)
        if not address:
            continue
        other = owners.setdefault(address.monitor, owner)
        if other is not owner:
            draft.problems.add(
                owner.place,
                dotted(owner.path, owner.parts[0].key.name),
                f"the same push address as {other.path} (line {other.place.line}): the healthy one would cover "
                "for the sick one; give each a push monitor of its own",
            )
        found.setdefault(owner.block.name, {})[owner.expected.name if owner.expected else None] = address
    return found


def _owners(draft: Draft) -> Iterator[_Owner]:
    for block in draft.repositories:
        if not draft.enabled(block) or draft.is_wrong(block, "push_url"):
            continue
        url = draft.setting(block, "push_url")
        if not draft.is_wrong(block, "push_token") and (parts := tuple(filter(None, (block.settings.get("push_token"), url)))):
            yield _Owner(block, None, parts)
        for expected in draft.expected(block).values():
            if (token := expected.settings.get("push_token")) and not expected.groups:
                yield _Owner(block, expected, (token, url) if url else (token,))


def _address(values: Values, owner: _Owner) -> uptime_kuma.Address | None:
    setting = owner.parts[0]
    given = {part.key.name: values.value(part, owner.block.name) for part in owner.parts}
    if None in given.values():
        return None  # which is noted
    try:
        beside = owner.expected is not None
        address = uptime_kuma.address(given.get("push_url"), given.get("push_token"), beside=beside)
        if not address and not setting.default and not _has_use(values.draft, owner):
            raise ValueError("ends without a token, and there is no push_token; add it, or end push_url in the token")
    except ValueError as error:
        values.draft.problems.add(setting.place, setting.path, str(error))
        return None
    return address


def _has_use(draft: Draft, owner: _Owner) -> bool:
    """Of an address without a token: expectations have tokens of their own."""
    return any("push_token" in expected.settings for expected in draft.expected(owner.block).values())
