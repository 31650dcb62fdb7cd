"""Single values of the file, checked as far as the file alone goes: types, templates, durations, where values come from."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from restic_monitor.config import credentials, keys, tree
from restic_monitor.config.draft import Setting
from restic_monitor.config.keys import Context, Key
from restic_monitor.config.problems import Place, Problems, dotted
from restic_monitor.config.sources import Source

_IN_QUOTES = 'put the option in quotes: "key=… {credential_path: NAME}"'
_TAKES_QUOTES = 'put the value in quotes: "{{ .Name }}"'


class Reading(Struct, frozen=True):
    """Mistakes go to `problems`."""

    problems: Problems
    folder: Path

    def context(self, name: str) -> Context:
        return Context(name, self.folder)

    def mapping(self, node: tree.Node, path: str, *, empty_is_fine: bool, example: str = "") -> tree.Keys | None:
        """The node as a mapping; nothing at all is an empty one."""
        if isinstance(node, tree.Keys) and not node.braces:
            return node
        if isinstance(node, tree.Text) and node.value is None and empty_is_fine:
            return tree.Keys({}, node.place)
        like = f", like {example}" if example else ""
        self.problems.add(node.place, path, f"must be keys with values{like}, not {_kind(node)}")
        return None

    def setting(self, key: Key, entry: tree.Entry, path: str, context: Context, *, default: bool = False) -> Setting | None:
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

    def items(self, key: Key, node: tree.Node, path: str, context: Context, *, default: bool = False) -> list[Setting]:
        """The values of a list, or of one that stands alone."""
        items = node.items if isinstance(node, tree.Items) else (node,)
        found = [self.setting(key, tree.Entry(item.place, item), path, context, default=default) for item in items]
        return [setting for setting in found if setting]


def takes_file(key: Key) -> bool:
    """Whether the path of a file may be its value."""
    return key.parse is keys.path or key is keys.MAPPINGS["extra_env"]


def is_unset(node: tree.Node) -> bool:
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
