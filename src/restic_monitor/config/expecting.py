"""The mapping `expect` of the file: names and the keys of their expectations, checked as far as the file alone goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from restic_monitor.config import keys, tree
from restic_monitor.config.draft import Block, Draft, Expected, Level
from restic_monitor.config.keys import Context, Key
from restic_monitor.config.problems import Problems, dotted
from restic_monitor.config.reading import Reading, is_unset

_EMPTY_LIST = "is an empty list; write a value or remove the key"


def one_rule(level: Level, problems: Problems) -> None:
    """Both on one level: neither is nearer."""
    if {"max_age", "schedule"} <= set(level.settings):
        first, second = sorted((level.settings["max_age"], level.settings["schedule"]), key=lambda each: each.place)
        message = f"{first.key.name} (line {first.place.line}) is set too; keep one of them"
        problems.add(second.place, second.path, message)


def without_effect(draft: Draft, block: Block) -> None:
    """`timezone` and `grace` of a repository itself, or of an expectation of its own, where no schedule is judged."""
    parts: Sequence[Expected | None] = list(draft.expected(block).values()) or [None]
    rules = [next(filter(_names_rule, draft.levels(block, part)), None) for part in parts]
    for part, rule in zip(parts, rules, strict=True):
        if part and not part.default and rule is not part:
            _no_effect(part, rule, draft.problems)
    if not any(rule and _names_schedule(rule) for rule in rules):
        _no_effect(block, rules[0], draft.problems)


def _names_rule(level: Level) -> bool:
    return "max_age" in level.settings or _names_schedule(level)


def _names_schedule(level: Level) -> bool:
    return "schedule" in level.settings or "schedule" in level.wrong


def _no_effect(level: Level, rule: Level | None, problems: Problems) -> None:
    """`rule` is the level whose rule counts; None for the age that is allowed where nobody names one."""
    if rule and _names_schedule(rule):
        return
    found = rule and rule.settings["max_age"]
    counts = f"max_age (line {found.place.line})" if found else "max_age (1d, as nothing else is set)"
    for name in ("timezone", "grace"):
        if setting := level.settings.get(name):
            problems.add(
                setting.place, setting.path, f"belongs to schedule, and {counts} counts here; remove it, or write schedule:"
            )


class Expecting(Struct, frozen=True):
    """Reads those of one block. `context` is the block's: files that are named may have the repository's name in them."""

    reading: Reading
    context: Context
    block: Block

    @property
    def problems(self) -> Problems:
        return self.reading.problems

    def read(self, entry: tree.Entry, path: str) -> dict[str, Expected] | None:
        """None when it is no mapping, or empty (which is noted): what was to be expected must not get lost with a comment."""
        mapping = self.reading.mapping(entry.value, path, empty_is_fine=True, example="{web1: {max_age: 26h}}")
        if mapping is None:
            self.block.wrong.add("expect")
            return None
        self.block.expect_place = entry.place
        if not mapping.entries:
            message = "names nothing that is expected; write the name of a host below it, for instance web1: {}, or remove it"
            self.problems.add(entry.place, path, message)
            return {}
        found = {name: self._expected(name, each, dotted(path, name)) for name, each in mapping.entries.items()}
        self._groups(list(found.values()))
        return found

    def _expected(self, name: str, entry: tree.Entry, path: str) -> Expected:
        expected = Expected(name, entry.place, path, self.block.default)
        if name in keys.ALL_EXPECTATION and not isinstance(entry.value, tree.Keys):
            message = f"belongs one level deeper, below the name of what is expected: expect: {{NAME: {{{name}: …}}}}"
            self.problems.add(entry.place, path, message)
            return expected
        if not name.strip() or not name.isprintable():
            self.problems.add(entry.place, path, "a name of an expectation is one line of visible characters")
        mapping = self.reading.mapping(entry.value, path, empty_is_fine=True, example="{max_age: 26h}")
        for key, value in (mapping.entries if mapping else {}).items():
            if key == "ignore":
                expected.ignore = self._ignore(value, dotted(path, key))
            else:
                self._key(expected, key, value, keys.EXPECTATION, keys.EXPECTATION_LISTS)
        self._check(expected, mapping)
        return expected

    def _key(self, level: Level, name: str, entry: tree.Entry, singles: Mapping[str, Key], lists: Mapping[str, Key]) -> None:
        path, default = dotted(level.path, name), self.block.default
        if name in (*singles, *lists) and self._is_left_out(level, name, entry, singles):
            return
        if name == "host" and isinstance(entry.value, tree.Items):
            what = "an expectation" if singles is keys.EXPECTATION else "an entry"
            self.problems.add(entry.value.place, path, f"is one name, and there is no or: write {what} for each")
        elif name in singles:
            if setting := self.reading.setting(singles[name], entry, path, self.context, default=default):
                level.settings[name] = setting
        elif name in lists:
            level.lists[name] = self.reading.items(lists[name], entry.value, path, self.context, default=default)
            items = entry.value.items if isinstance(entry.value, tree.Items) else (entry.value,)
            if any(map(is_unset, items)) or (lists is keys.EXPECTATION_LISTS and not items):
                self.problems.add(entry.place, path, "has an empty item; write a value or remove it" if items else _EMPTY_LIST)
        else:
            known = keys.ALL_EXPECTATION if singles is keys.EXPECTATION else keys.ALL_IGNORED
            self.problems.add(entry.place, dotted(level.path, keys.shown(name)), keys.strange(name, known))
        if name not in level.settings and not level.lists.get(name):
            level.wrong.add(keys.similar(name, keys.ALL_EXPECTATION) or name)

    def _is_left_out(self, level: Level, name: str, entry: tree.Entry, singles: Mapping[str, Key]) -> bool:
        """Not set, so that another level counts; an error where the expectation would be wider without a word."""
        if not is_unset(entry.value):
            return False
        if singles is keys.IGNORED or name in ("host", *keys.EXPECTATION_LISTS):
            message = 'has no value; write one, or remove the key (a snapshot without a host: host: "")'
            message = message if name == "host" else message.partition(" (")[0]
            self.problems.add(entry.place, dotted(level.path, name), message)
            level.wrong.add(name)
        return True

    def _ignore(self, entry: tree.Entry, path: str) -> list[Level]:
        if is_unset(entry.value):
            return []
        if not isinstance(entry.value, tree.Items):
            self.problems.add(entry.value.place, path, 'must be a list, like [{host: "test-*"}, {before: 2026-01-31}]')
            return []
        return [self._ignored(node, f"{path}[{number}]") for number, node in enumerate(entry.value.items)]

    def _ignored(self, node: tree.Node, path: str) -> Level:
        level = Level("", node.place, path, self.block.default)
        mapping = self.reading.mapping(node, path, empty_is_fine=True, example='{host: "test-*"}')
        for key, value in (mapping.entries if mapping else {}).items():
            self._key(level, key, value, keys.IGNORED, keys.IGNORED_LISTS)
        if mapping and not (level.settings or level.lists or level.wrong):
            message = f"would retire every group; write at least one of {', '.join(keys.ALL_IGNORED)}"
            self.problems.add(node.place, path, message)
        return level

    # keys that go together, or do not

    def _check(self, expected: Expected, mapping: tree.Keys | None) -> None:
        one_rule(expected, self.problems)
        if _names_rule(expected):
            _no_effect(expected, expected, self.problems)
        if expected.groups:
            self._check_grouping(expected)
        elif mapping and "ignore" in mapping.entries and "group_by" not in expected.wrong:
            message = "retires groups, and without group_by there are none; write group_by: [host], or remove it"
            self.problems.add(mapping.entries["ignore"].place, dotted(expected.path, "ignore"), message)

    def _check_grouping(self, expected: Expected) -> None:
        group_by = expected.lists["group_by"]
        line = group_by[0].place.line
        if host := expected.settings.get("host"):
            message = f"group_by (line {line}) is set too; keep one of them (paths and tags may stand beside group_by)"
            self.problems.add(host.place, host.path, message)
        if token := expected.settings.get("push_token"):
            message = f"not with group_by (line {line}), whose lines come and go; the push of the repository tells of them"
            self.problems.add(token.place, token.path, message)
        grouped = {setting.raw for setting in group_by}
        for entry in expected.ignore:
            for name in ("host", "paths", "tags"):
                if name in (*entry.settings, *entry.lists) and name not in grouped:
                    message = (
                        f"group_by (line {line}) does not have {name}, so no group can match; add it there, or remove this"
                    )
                    self.problems.add(entry.place, dotted(entry.path, name), message)

    def _groups(self, all_: Sequence[Expected]) -> None:
        """At most one, and no name that the lines of its groups have."""
        grouping = [expected for expected in all_ if expected.groups]
        for other in grouping[1:]:
            first = f"{grouping[0].name} (line {grouping[0].place.line})"
            message = (
                f"{first} has group_by too, and there is one place for what no other expectation matches; keep one of them"
            )
            self.problems.add(other.lists["group_by"][0].place, dotted(other.path, "group_by"), message)
        for expected in all_ if grouping else ():
            if expected.name.startswith(prefix := f"{grouping[0].name}/"):
                message = (
                    f"the lines of {grouping[0].name} (line {grouping[0].place.line}) begin with {prefix}; take another name"
                )
                self.problems.add(expected.place, expected.path, message)
