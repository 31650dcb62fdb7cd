"""From YAML to a draft: the file, checked as far as the file alone goes. Keys, types, templates, durations."""

from __future__ import annotations

import re
from pathlib import Path

from restic_monitor.config import keys, tree
from restic_monitor.config.draft import Block, Draft, is_off
from restic_monitor.config.expecting import Expecting, one_rule, without_effect
from restic_monitor.config.problems import Place, Problems, dotted
from restic_monitor.config.reading import Reading, is_unset
from restic_monitor.config.sources import read_text
from restic_monitor.environment import REFUSED
from restic_monitor.errors import UsageError

_VARIABLE = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def read(file: Path, place: Path | None = None) -> Draft:
    """Read a configuration file; `place` is where it is, if that is not where it came from. Its mistakes are in the draft's
    `problems`. Raises UsageError when it cannot be read."""
    try:
        text = read_text(place or file, file)
    except ValueError as error:
        message = str(error)
        hint = "\nWrite a first one with: restic-monitor init" if message.endswith("no such file or directory") else ""
        raise UsageError(message + hint) from None
    problems = Problems(str(file))
    root = tree.read(text, problems)
    return _Reader(file, problems).draft(root)


class _Reader:
    def __init__(self, file: Path, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.reading = Reading(problems, file.absolute().parent)

    def draft(self, root: tree.Node | None) -> Draft:
        draft = Draft(self.file, self.problems, {}, Block("defaults", Place(1, 1), "defaults", default=True), [])
        if isinstance(root, tree.Keys):
            self._top(root, draft)
        elif not self.problems.found:
            empty = root is None or (isinstance(root, tree.Text) and root.value is None)
            what = "it is empty" if empty else "it is not a mapping of keys to values"
            self.problems.add(Place(1, 1), "", f"{what}; restic-monitor init writes a file to start from")
        return draft

    def _top(self, root: tree.Keys, draft: Draft) -> None:
        for name, entry in root.entries.items():
            if name in keys.TOP:
                if setting := self.reading.setting(keys.TOP[name], entry, name, self.reading.context("")):
                    draft.top[name] = setting
            elif name not in keys.SECTIONS and not name.startswith("x-"):
                self.problems.add(entry.place, dotted("", keys.shown(name)), keys.unknown(name, top=True))
        draft.defaults = self._defaults(root)
        draft.repositories = self._repositories(root)
        self._conflicts(draft)

    def _defaults(self, root: tree.Keys) -> Block:
        entry = root.entries.get("defaults")
        block = Block("defaults", entry.place if entry else root.place, "defaults", default=True)
        if entry:
            self._fill(block, entry.value, "defaults")
        return block

    def _repositories(self, root: tree.Keys) -> list[Block]:
        entry = root.entries.get("repositories")
        mapping = self.reading.mapping(entry.value, "repositories", empty_is_fine=True) if entry else None
        if not mapping or not mapping.entries:
            if entry is None or mapping is not None:
                place = entry.place if entry else root.place
                self.problems.add(place, "repositories", "names no repository; add one below it, for instance web-server: {}")
            return []
        return [self._repository(name, entry) for name, entry in mapping.entries.items()]

    def _repository(self, name: str, entry: tree.Entry) -> Block:
        path = dotted("repositories", name)
        block = Block(name, entry.place, path)
        if not name.strip() or not name.isprintable():
            self.problems.add(entry.place, path, "a repository's name is one line of visible characters")
        self._fill(block, entry.value, path)
        return block

    def _fill(self, block: Block, node: tree.Node, path: str) -> None:
        if mapping := self.reading.mapping(node, path, empty_is_fine=True):
            self._block(mapping, block, path)
        else:
            block.wrong.update(keys.REPOSITORY)

    def _block(self, mapping: tree.Keys, block: Block, path: str) -> None:
        # in defaults the name is not known yet; any will do to find mistakes
        context = self.reading.context(block.name)
        for name, entry in mapping.entries.items():
            here = dotted(path, name)
            if name in keys.REPOSITORY:
                key = keys.REPOSITORY[name]
                if block.default and not key.defaults:
                    self.problems.add(
                        entry.place, here, "belongs in a repository, not in defaults: each needs a push monitor of its own"
                    )
                elif setting := self.reading.setting(key, entry, here, context, default=block.default):
                    block.settings[name] = setting
                elif not is_unset(entry.value):
                    block.wrong.add(name)
            elif name in keys.LISTS:
                if not is_unset(entry.value):
                    block.lists[name] = self.reading.items(keys.LISTS[name], entry.value, here, context, default=block.default)
            elif name == "expect":
                block.expect = Expecting(self.reading, context, block).read(entry, here)
            elif name in keys.MAPPINGS:
                self._extra_env(entry, here, block)
            else:
                message = keys.unknown(name, top=False)
                if isinstance(entry.value, tree.Keys) and "the keys are" in message:
                    message = keys.NO_KEY
                self.problems.add(entry.place, dotted(path, keys.shown(name)), message)
                block.wrong.add(keys.similar(name) or name)

    def _extra_env(self, entry: tree.Entry, path: str, block: Block) -> None:
        mapping = self.reading.mapping(entry.value, path, empty_is_fine=True)
        for name, variable in (mapping.entries if mapping else {}).items():
            here = dotted(path, name)
            if name in REFUSED or name.startswith("RESTIC_MONITOR_"):
                self.problems.add(variable.place, here, f"is not passed on: {REFUSED.get(name, 'it is our own')}")
            elif not _VARIABLE.fullmatch(name):
                wrong = dotted(path, keys.shown(name))
                self.problems.add(variable.place, wrong, "is not the name of an environment variable; write NAME: value")
            else:
                context = self.reading.context(block.name)
                setting = self.reading.setting(keys.MAPPINGS["extra_env"], variable, here, context, default=block.default)
                block.extra_env[name] = setting
                if not setting and not is_unset(variable.value):
                    block.wrong.add(name)

    def _conflicts(self, draft: Draft) -> None:
        for block in (draft.defaults, *draft.repositories):
            named = [block.settings[key] for key in keys.PASSWORDS if key in block.settings]
            named = [setting for setting in named if not is_off(setting)]
            for setting in named[1:]:
                other = f"{named[0].key.name} (line {named[0].place.line})"
                self.problems.add(setting.place, setting.path, f"{other} is set too; keep one of them")
                block.wrong.add(setting.key.name)
            one_rule(block, self.problems)
        if draft.repositories and not any(draft.enabled(block) for block in draft.repositories):
            place = draft.repositories[0].place
            self.problems.add(
                place, "repositories", "none is enabled, so there is nothing to look at; remove an enabled: false"
            )
        for block in draft.repositories:
            without_effect(draft, block)
            if draft.enabled(block) and not draft.setting(block, "url") and not draft.is_wrong(block, "url"):
                path = dotted("repositories", block.name)
                self.problems.add(block.place, path, "no url, here or in defaults; write url: and restic's address of it")
