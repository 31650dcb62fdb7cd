"""From YAML to a draft: the file, checked as far as the file alone goes. Keys, types, templates, durations."""

from __future__ import annotations

import re
from pathlib import Path

from restic_monitor.config import credentials, keys, tree
from restic_monitor.config.draft import Block, Draft, Setting, is_off
from restic_monitor.config.keys import Context, Key
from restic_monitor.config.problems import Place, Problems, dotted
from restic_monitor.config.sources import Source, read_text
from restic_monitor.environment import REFUSED
from restic_monitor.errors import UsageError

_VARIABLE = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_IN_QUOTES = 'put the option in quotes: "key=… {credential_path: NAME}"'
_TAKES_QUOTES = 'put the value in quotes: "{{ .Name }}"'


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
        self.folder = file.absolute().parent

    def draft(self, root: tree.Node | None) -> Draft:
        draft = Draft(self.file, self.problems, {}, Block("defaults", Place(1, 1), default=True), [])
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
                if setting := self._setting(keys.TOP[name], entry, name, Context("", self.folder)):
                    draft.top[name] = setting
            elif name not in keys.SECTIONS and not name.startswith("x-"):
                self.problems.add(entry.place, dotted("", keys.shown(name)), keys.unknown(name, top=True))
        draft.defaults = self._defaults(root)
        draft.repositories = self._repositories(root)
        self._conflicts(draft)

    def _defaults(self, root: tree.Keys) -> Block:
        entry = root.entries.get("defaults")
        block = Block("defaults", entry.place if entry else root.place, default=True)
        if entry:
            self._fill(block, entry.value, "defaults")
        return block

    def _repositories(self, root: tree.Keys) -> list[Block]:
        entry = root.entries.get("repositories")
        mapping = self._mapping(entry.value, "repositories", empty_is_fine=True) if entry else None
        if not mapping or not mapping.entries:
            if entry is None or mapping is not None:
                place = entry.place if entry else root.place
                self.problems.add(place, "repositories", "names no repository; add one below it, for instance web-server: {}")
            return []
        return [self._repository(name, entry) for name, entry in mapping.entries.items()]

    def _repository(self, name: str, entry: tree.Entry) -> Block:
        path = dotted("repositories", name)
        block = Block(name, entry.place)
        if not name.strip() or not name.isprintable():
            self.problems.add(entry.place, path, "a repository's name is one line of visible characters")
        self._fill(block, entry.value, path)
        return block

    def _fill(self, block: Block, node: tree.Node, path: str) -> None:
        if mapping := self._mapping(node, path, empty_is_fine=True):
            self._block(mapping, block, path)
        else:
            block.wrong.update(keys.REPOSITORY)

    def _mapping(self, node: tree.Node, path: str, *, empty_is_fine: bool) -> tree.Keys | None:
        """The node as a mapping; nothing at all is an empty one."""
        if isinstance(node, tree.Keys) and not node.braces:
            return node
        if isinstance(node, tree.Text) and node.value is None and empty_is_fine:
            return tree.Keys({}, node.place)
        self.problems.add(node.place, path, f"must be keys with values, not {_kind(node)}")
        return None

    def _block(self, mapping: tree.Keys, block: Block, path: str) -> None:
        # in defaults the name is not known yet; any will do to find mistakes
        context = Context(block.name, self.folder)
        for name, entry in mapping.entries.items():
            here = dotted(path, name)
            if name in keys.REPOSITORY:
                key = keys.REPOSITORY[name]
                if block.default and not key.defaults:
                    self.problems.add(
                        entry.place, here, "belongs in a repository, not in defaults: each needs a push monitor of its own"
                    )
                elif setting := self._setting(key, entry, here, context, default=block.default):
                    block.settings[name] = setting
                elif not _is_unset(entry.value):
                    block.wrong.add(name)
            elif name in keys.LISTS:
                self._list(keys.LISTS[name], entry, here, context, block)
            elif name in keys.MAPPINGS:
                self._extra_env(entry, here, block)
            else:
                self.problems.add(entry.place, dotted(path, keys.shown(name)), keys.unknown(name, top=False))
                block.wrong.add(keys.similar(name) or name)

    def _list(self, key: Key, entry: tree.Entry, path: str, context: Context, block: Block) -> None:
        node = entry.value
        if _is_unset(node):
            return
        items = node.items if isinstance(node, tree.Items) else (node,)
        found = [self._setting(key, tree.Entry(item.place, item), path, context, default=block.default) for item in items]
        block.lists[key.name] = [setting for setting in found if setting]

    def _extra_env(self, entry: tree.Entry, path: str, block: Block) -> None:
        mapping = self._mapping(entry.value, path, empty_is_fine=True)
        for name, variable in (mapping.entries if mapping else {}).items():
            here = dotted(path, name)
            if name in REFUSED or name.startswith("RESTIC_MONITOR_"):
                self.problems.add(variable.place, here, f"is not passed on: {REFUSED.get(name, 'it is our own')}")
            elif not _VARIABLE.fullmatch(name):
                wrong = dotted(path, keys.shown(name))
                self.problems.add(variable.place, wrong, "is not the name of an environment variable; write NAME: value")
            else:
                context = Context(block.name, self.folder)
                setting = self._setting(keys.MAPPINGS["extra_env"], variable, here, context, default=block.default)
                block.extra_env[name] = setting
                if not setting and not _is_unset(variable.value):
                    block.wrong.add(name)

    def _setting(self, key: Key, entry: tree.Entry, path: str, context: Context, *, default: bool = False) -> Setting | None:
        """The value of a key; None when it is not set, or wrong (which is noted)."""
        node = entry.value
        if isinstance(node, tree.Text) and node.value is not None:
            setting = Setting(key, node.value, entry.place, path, default)
            return setting if self._parses(setting, context) else None
        if isinstance(node, tree.Keys) and not node.braces and key.literal:
            self.problems.add(node.place, path, f"must stand in this file as a plain value, like {key.example}")
        elif isinstance(node, tree.Keys) and (source := self._source(node, key, path, context)):
            return Setting(key, source, entry.place, path, default)
        if isinstance(node, tree.Items):
            self.problems.add(node.place, path, "must be one value, not a list")
        return None

    def _parses(self, setting: Setting, context: Context) -> bool:
        assert isinstance(setting.raw, str)
        try:
            setting.key.value(setting.raw, context)
            if setting.key.parse is keys.option:
                credentials.check_text(setting.raw)
        except ValueError as error:
            self.problems.add(setting.place, setting.path, _without_value(str(error), setting))
            return False
        return True

    def _source(self, node: tree.Keys, key: Key, path: str, context: Context) -> Source | None:
        if node.braces:
            self.problems.add(node.place, path, _TAKES_QUOTES)
            return None
        entry = next(iter(node.entries.items()), None)
        if entry and len(node.entries) == 1 and entry[0] in keys.SOURCES:
            name, value = entry[0], entry[1].value
            if isinstance(value, tree.Text) and value.value:
                source = Source(name, value.value)
                return source if self._is_possible(source, key, value.place, dotted(path, name), context) else None
        sources = [kind for kind in keys.SOURCES if kind != "credential_path" or takes_file(key)]
        hint = _IN_QUOTES if key.parse is keys.option and entry and "{" in entry[0] else ""
        self.problems.add(node.place, path, hint or f"must be one value, or one of {{{': …}, {'.join(sources)}: …}}")
        return None

    def _is_possible(self, source: Source, key: Key, place: Place, path: str, context: Context) -> bool:
        try:
            source.check(context)
            if source.is_path and not takes_file(key):
                raise ValueError(f"gives the path of a file, and {key.name} wants the text: {{from_credential: {source.name}}}")
        except ValueError as error:
            self.problems.add(place, path, str(error))
            return False
        return True

    def _conflicts(self, draft: Draft) -> None:
        for block in (draft.defaults, *draft.repositories):
            named = [block.settings[key] for key in keys.PASSWORDS if key in block.settings]
            named = [setting for setting in named if not is_off(setting)]
            for setting in named[1:]:
                other = f"{named[0].key.name} (line {named[0].place.line})"
                self.problems.add(setting.place, setting.path, f"{other} is set too; keep one of them")
                block.wrong.add(setting.key.name)
        if draft.repositories and not any(draft.enabled(block) for block in draft.repositories):
            place = draft.repositories[0].place
            self.problems.add(
                place, "repositories", "none is enabled, so there is nothing to look at; remove an enabled: false"
            )
        for block in draft.repositories:
            if draft.enabled(block) and not draft.setting(block, "url") and not draft.is_wrong(block, "url"):
                path = dotted("repositories", block.name)
                self.problems.add(block.place, path, "no url, here or in defaults; write url: and restic's address of it")


def takes_file(key: Key) -> bool:
    """Whether the path of a file may be its value."""
    return key.parse is keys.path or key is keys.MAPPINGS["extra_env"]


def _is_unset(node: tree.Node) -> bool:
    return isinstance(node, tree.Text) and node.value is None


def _kind(node: tree.Node) -> str:
    if isinstance(node, tree.Keys):
        return "a template without quotes"
    return "a list" if isinstance(node, tree.Items) else "a single value"


def _without_value(message: str, setting: Setting) -> str:
    """The sentence, unless it would quote a secret."""
    if setting.key.secret and isinstance(setting.raw, str) and setting.raw and setting.raw in message:
        return "is not valid"
    return message
