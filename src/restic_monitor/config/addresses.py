"""Push addresses of a whole configuration: put together, and no two repositories with the same."""

from __future__ import annotations

from collections.abc import Collection

from restic_monitor.config.draft import Block, Setting
from restic_monitor.config.problems import dotted
from restic_monitor.config.sources import Source
from restic_monitor.config.values import Values
from restic_monitor.receivers import uptime_kuma


def push_addresses(values: Values, reading: Collection[str]) -> dict[str, uptime_kuma.Address]:
    """Of all enabled repositories, selected or not: a healthy one must not cover for a sick one.

    Where the address does not stand in the file, only of those whose secrets are to be read.
    """
    draft = values.draft
    found: dict[str, uptime_kuma.Address] = {}
    owners: dict[tuple[str, str], tuple[str, int]] = {}
    for block in draft.repositories:
        parts = [part for key in ("push_token", "push_url") if (part := draft.setting(block, key))]
        if not parts or not draft.enabled(block) or draft.is_wrong(block, "push_token", "push_url"):
            continue
        if block.name not in reading and any(isinstance(part.raw, Source) for part in parts):
            continue
        setting = parts[0]
        address = _address(values, block, setting)
        if not address:
            continue
        place = block.place if setting.default else setting.place
        other, line = owners.setdefault(address.monitor, (block.name, place.line))
        if other != block.name:
            draft.problems.add(
                place,
                dotted(dotted("repositories", block.name), setting.key.name),
                f"the same push address as repositories.{other} (line {line}): the healthy one would cover "
                "for the sick one; give each repository a push monitor of its own",
            )
        found[block.name] = address
    return found


def _address(values: Values, block: Block, setting: Setting) -> uptime_kuma.Address | None:
    given = {key: values.get(block, key) for key in ("push_url", "push_token")}
    if any(value is None and values.draft.setting(block, key) for key, value in given.items()):
        return None  # which is noted
    try:
        address = uptime_kuma.address(**given)
        if not address and not setting.default:
            raise ValueError("ends without a token, and there is no push_token; add it, or end push_url in the token")
    except ValueError as error:
        values.draft.problems.add(setting.place, setting.path, str(error))
        return None
    return address
