"""The file, checked as far as the file alone goes: keys, types, templates, durations. Nothing outside it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from restic_monitor.config import keys, tree
from restic_monitor.config.keys import Context, Key
from restic_monitor.config.problems import Place, Problems, dotted
from restic_monitor.config.sources import Source, read_text
from restic_monitor.environment import REFUSED
from restic_monitor.errors import UsageError
from restic_monitor.secret import is_secret_name

_TAKES_QUOTES = 'put the value in quotes: "{{ .Name }}"'


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as it stands in the file. `level` is "defaults", the repository's name, or "" for the top level."""

    key: Key
    raw: str | Source
    place: Place
    path: str
    level: str

    @property
    def origin(self) -> str:
        return f"defaults, line {self.place.line}" if self.level == "defaults" else f"line {self.place.line}"


@dataclass(slots=True)
class Block:
    """The keys of `defaults` or of one repository. None in `extra_env` unsets a variable."""

    name: str
    place: Place
    settings: dict[str, Setting] = field(default_factory=dict)
    lists: dict[str, list[Setting]] = field(default_factory=dict)
    extra_env: dict[str, Setting | None] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """A whole file. `folder` is where relative paths start."""

    file: Path
    problems: Problems
    top: dict[str, Setting]
    defaults: Block
    repositories: list[Block]

    @property
    def folder(self) -> Path:
        return self.file.absolute().parent

    def setting(self, block: Block, key: str) -> Setting | None:
        """The value that counts: the repository's, else the default."""
        return block.settings.get(key) or self.defaults.settings.get(key)

    def setting_list(self, block: Block, key: str) -> list[Setting]:
        return block.lists[key] if key in block.lists else self.defaults.lists.get(key, [])

    def enabled(self, block: Block) -> bool:
        setting = self.setting(block, "enabled")
        return setting is None or not _is_no(setting)

    def password_settings(self, block: Block) -> list[Setting]:
        """The ways to the password named at the nearest level that names one."""
        for level in (block, self.defaults):
            found = [level.settings[key] for key in keys.PASSWORDS if key in level.settings]
            if found := [setting for setting in found if not _is_no(setting)]:
                return found
        return []

    @property
    def literal_secrets(self) -> bool:
        """Whether a secret stands in the file itself."""
        blocks = [self.defaults, *self.repositories]
        settings = [setting for block in blocks for setting in block.settings.values() if setting.key.secret]
        return any(isinstance(setting.raw, str) and setting.key.name != "push_url" for setting in settings) or any(
            setting and isinstance(setting.raw, str) and is_secret_name(name)
            for block in blocks
            for name, setting in block.extra_env.items()
        )


def _is_no(setting: Setting) -> bool:
    """A switch that is off; `draft` has no other values in switches than those that `keys.boolean` knows."""
    return setting.key.parse is keys.boolean and str(setting.raw).lower() in keys.FALSE


def read(file: Path) -> Draft:
    """Read a configuration file. Its mistakes are in the draft's `problems`. Raises UsageError when it cannot be read."""
    try:
        text = read_text(file)
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
        draft = Draft(self.file, self.problems, {}, Block("defaults", Place(1, 1)), [])
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
                if setting := self._setting(keys.TOP[name], entry, name, "", Context("", self.folder)):
                    draft.top[name] = setting
            elif name not in keys.SECTIONS and not name.startswith("x-"):
                self.problems.add(entry.place, name, keys.unknown(name, top=True))
        draft.defaults = self._defaults(root)
        draft.repositories = self._repositories(root)
        self._conflicts(draft)

    def _defaults(self, root: tree.Keys) -> Block:
        entry = root.entries.get("defaults")
        block = Block("defaults", entry.place if entry else root.place)
        if entry and (mapping := self._mapping(entry.value, "defaults", empty_is_fine=True)):
            self._block(mapping, block, "defaults")
        return block

    def _repositories(self, root: tree.Keys) -> list[Block]:
        entry = root.entries.get("repositories")
        mapping = self._mapping(entry.value, "repositories", empty_is_fine=True) if entry else None
        if not mapping or not mapping.entries:
            if entry is None or mapping is not None:
                place = entry.place if entry else root.place
                self.problems.add(place, "repositories", "names no repository; add one, for instance\n  web-server: {}")
            return []
        return [self._repository(name, entry) for name, entry in mapping.entries.items()]

    def _repository(self, name: str, entry: tree.Entry) -> Block:
        path = dotted("repositories", name)
        block = Block(name, entry.place)
        if not name.strip() or not name.isprintable():
            self.problems.add(entry.place, path, "a repository's name is one line of visible characters")
        if mapping := self._mapping(entry.value, path, empty_is_fine=True):
            self._block(mapping, block, path)
        return block

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
                if block.name == "defaults" and path == "defaults" and not key.defaults:
                    self.problems.add(entry.place, here, "belongs to one repository: each needs a push monitor of its own")
                elif setting := self._setting(key, entry, here, path, context):
                    block.settings[name] = setting
            elif name in keys.LISTS:
                self._list(keys.LISTS[name], entry, here, path, context, block)
            elif name in keys.MAPPINGS:
                self._extra_env(entry, here, path, block)
            else:
                self.problems.add(entry.place, here, keys.unknown(name, top=False))

    def _list(self, key: Key, entry: tree.Entry, path: str, level: str, context: Context, block: Block) -> None:
        node = entry.value
        if isinstance(node, tree.Text) and node.value is None:
            return
        items = node.items if isinstance(node, tree.Items) else (node,)
        found = [self._setting(key, tree.Entry(item.place, item), path, level, context) for item in items]
        block.lists[key.name] = [setting for setting in found if setting]

    def _extra_env(self, entry: tree.Entry, path: str, level: str, block: Block) -> None:
        mapping = self._mapping(entry.value, path, empty_is_fine=True)
        for name, variable in (mapping.entries if mapping else {}).items():
            here = dotted(path, name)
            if name in REFUSED or name.startswith("RESTIC_MONITOR_"):
                self.problems.add(variable.place, here, f"is not passed on: {REFUSED.get(name, 'it is our own')}")
            elif not name or "=" in name or not name.isprintable():
                self.problems.add(variable.place, here, "is not the name of an environment variable")
            else:
                setting = self._setting(keys.MAPPINGS["extra_env"], variable, here, level, Context("", self.folder))
                block.extra_env[name] = setting

    def _setting(self, key: Key, entry: tree.Entry, path: str, level: str, context: Context) -> Setting | None:
        """The value of a key; None when it is not set, or wrong (which is noted)."""
        node = entry.value
        level = "defaults" if level == "defaults" else context.name
        if isinstance(node, tree.Text) and node.value is not None:
            setting = Setting(key, node.value, entry.place, path, level)
            return setting if self._parses(setting, context) else None
        if isinstance(node, tree.Keys) and not node.braces and key.literal:
            self.problems.add(node.place, path, "must stand in this file")
        elif isinstance(node, tree.Keys) and (source := self._source(node, path)):
            return Setting(key, source, entry.place, path, level)
        if isinstance(node, tree.Items):
            self.problems.add(node.place, path, "must be one value, not a list")
        return None

    def _parses(self, setting: Setting, context: Context) -> bool:
        assert isinstance(setting.raw, str)
        try:
            setting.key.parse(setting.raw, context)
        except ValueError as error:
            self.problems.add(setting.place, setting.path, _without_value(str(error), setting))
            return False
        return True

    def _source(self, node: tree.Keys, path: str) -> Source | None:
        if node.braces:
            self.problems.add(node.place, path, _TAKES_QUOTES)
            return None
        entry = next(iter(node.entries.items()), None)
        if entry and len(node.entries) == 1 and entry[0] in keys.SOURCES:
            name, value = entry[0], entry[1].value
            if isinstance(value, tree.Text) and value.value:
                return Source(name, value.value)
        self.problems.add(node.place, path, f"must be one value, or one of {{{': …}, {'.join(keys.SOURCES)}: …}}")
        return None

    def _conflicts(self, draft: Draft) -> None:
        for block in (draft.defaults, *draft.repositories):
            named = [block.settings[key] for key in keys.PASSWORDS if key in block.settings]
            named = [setting for setting in named if not _is_no(setting)]
            for setting in named[1:]:
                self.problems.add(setting.place, setting.path, f"{named[0].key.name} is set too; keep one of them")
        if draft.repositories and not any(draft.enabled(block) for block in draft.repositories):
            self.problems.add(draft.repositories[0].place, "repositories", "none is enabled; there is nothing to look at")
        for block in draft.repositories:
            if draft.enabled(block) and not draft.setting(block, "url"):
                path = dotted("repositories", block.name)
                self.problems.add(block.place, path, "no url, here or in defaults: where is the repository?")


def _kind(node: tree.Node) -> str:
    if isinstance(node, tree.Keys):
        return "a template without quotes"
    return "a list" if isinstance(node, tree.Items) else "a single value"


def _without_value(message: str, setting: Setting) -> str:
    """The sentence, unless it would quote a secret."""
    if setting.key.secret and isinstance(setting.raw, str) and setting.raw and setting.raw in message:
        return "is not valid"
    return message
