"""YAML as a tree of nodes that remember where they stand. Every plain scalar is the text in the file; the key decides.

Only composed, never constructed: no tag makes a number, a date or an object of anything (YAML 1.1's `no`, `1:30`, `1e5`).
"""

from __future__ import annotations

import re

import yaml
from msgspec import Struct

from restic_monitor.config.problems import Place, Problems, dotted

_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_SIZE_LIMIT = 200_000
_DEPTH_LIMIT = 50


class Text(Struct, frozen=True):
    """A scalar; None where it says "not set": `~`, `null` or nothing, without quotes."""

    value: str | None
    place: Place


class Items(Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    place: Place


class Entry(Struct, frozen=True):
    """A key of a mapping: where the key stands, and its value."""

    place: Place
    value: Node


class Keys(Struct, frozen=True):
    """A mapping, merged keys (`<<`) included. `braces` when it is an unquoted `{{ … }}`, which YAML takes for a mapping."""

    entries: dict[str, Entry]
    place: Place
    braces: bool = False


Node = Text | Items | Keys


class _TooDeep(yaml.YAMLError):
    """With the place where it becomes too deep."""

    def __init__(self, line: int, column: int) -> None:
        super().__init__()
        self.problem = "nested too deeply"
        self.problem_mark = yaml.Mark("", 0, line, column, None, 0)


def read(text: str, problems: Problems) -> Node | None:
    """The root of the document; None when there is none, or when the problems say why."""
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        place, message = _explain(error, text)
        problems.add(place, "", message)
        return None
    if root is None:
        return None
    if not _size_is_sane(root):
        problems.add(_place(root), "", "its aliases expand to too much, too deep or to themselves; write the values out")
        return None
    return _Converter(problems).convert(root, "")


def _check_depth(text: str) -> None:
    """Composing is recursive; nobody's configuration is 50 levels deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_LIMIT:
            mark = event.start_mark
            raise _TooDeep(mark.line if mark else 0, mark.column if mark else 0)


# What PyYAML says, and what the user did. Its own words, which differ between its two parsers, may quote a secret.
_MEANINGS = (
    ("nested too deeply", "nested too deeply"),
    ("nesting depth", "nested too deeply"),
    ("node content", "a value cannot begin with this character; put it in quotes"),
    ("another document", "a second document begins here; one file is one document"),
    ("undefined alias", "a value that begins with * needs quotes, unless it names an &anchor further up"),
    ("second occurrence", "a second &anchor of the same name; a value that begins with & needs quotes"),
    ("expected alphabetic or numeric character", 'a value that begins with * or & needs quotes, like "*/15 * * * *"'),
    ("tag", "a value that begins with ! needs quotes"),
    ("escape", "a backslash in double quotes has a meaning of its own; put the value in single quotes"),
    ("hexdecimal", "a backslash in double quotes has a meaning of its own; put the value in single quotes"),
    ("tab character", "a tab; YAML wants blanks before a key"),
    ("cannot start any token", "a value cannot begin with this character; put it in quotes"),
    ("mapping values are not allowed", "a ': ' where none can be; put the value in quotes, or line the key up with the others"),
    (
        "sequence entries are not allowed",
        "a '- ' where none can be; put the value in quotes, or begin the list on a line of its own",
    ),
    ("expected key", "not lined up with the keys above, or text behind a closing quote"),
    ("expected <block end>", "not lined up with the keys above, or text behind a closing quote"),
)
# The same, for what PyYAML notices only where the text ends.
_BEGINNINGS = (
    ("unexpected end of stream", "the quote that begins here has no end"),
    ("expected ',' or ']'", "the [ that begins here has no ]; a value that begins with [ needs quotes"),
    ("expected ',' or '}'", "the { that begins here has no }; a value that begins with { needs quotes"),
    ("expected ':'", "no ': ' behind the key; a blank must follow the colon"),
)


def _explain(error: yaml.YAMLError, text: str) -> tuple[Place, str]:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        return Place(line, 1), "not YAML: a control character, or another that YAML does not allow"
    problem = str(getattr(error, "problem", ""))
    begins = next((words for sign, words in _BEGINNINGS if sign in problem), None)
    if begins and (beginning := getattr(error, "context_mark", None)):
        mark = beginning
    words = begins or next((words for sign, words in _MEANINGS if sign in problem), "wrong in its structure")
    near = text.splitlines()[max(0, mark.line - 1) : mark.line + 1]
    if any(re.search(r"[:-]\s+\{\{", line) for line in near):
        words = 'a value that begins with {{ needs quotes: url: "{{ .Name }}"'
    elif near and near[-1].strip(" ").startswith("\t"):
        words = "a tab; YAML wants blanks before a key"
    return Place(mark.line + 1, mark.column + 1), f"not YAML: {words}"


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _is_null(node: yaml.ScalarNode) -> bool:
    return node.tag == _NULL and node.style not in ("'", '"', "|", ">")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _size_is_sane(root: yaml.Node) -> bool:
    """Whether the tree, aliases expanded, is finite, small and flat. Counted without expanding it."""
    too_much = (_SIZE_LIMIT + 1, _DEPTH_LIMIT + 1)
    known: dict[int, tuple[int, int]] = {}

    def size_and_depth(node: yaml.Node) -> tuple[int, int]:
        key = id(node)
        if key not in known:
            known[key] = too_much  # met again before it is known: it holds itself
            children = [size_and_depth(child) for child in _children(node)]
            size, depth = 1 + sum(size for size, _ in children), 1 + max((depth for _, depth in children), default=0)
            known[key] = (min(size, too_much[0]), min(depth, too_much[1]))
        return known[key]

    size, depth = size_and_depth(root)
    return size <= _SIZE_LIMIT and depth <= _DEPTH_LIMIT


class _Converter:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def convert(self, node: yaml.Node, path: str) -> Node:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self.problems.add(_place(node), path, "a value that begins with ! needs quotes; YAML takes it for a tag")
        if isinstance(node, yaml.ScalarNode):
            return Text(None if _is_null(node) else node.value, _place(node))
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.convert(item, path) for item in node.value), _place(node))
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str) -> Keys:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            place = _place(key)
            if isinstance(key, yaml.MappingNode):
                return Keys({}, _place(node), braces=True)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(place, path, "a list cannot be a key")
            elif key.tag == _MERGE:
                self._merge(value, path, merged)
            elif _is_null(key):
                self.problems.add(place, path, f"{key.value or 'nothing'} cannot be a key; put it in quotes if it is a name")
            elif key.value in own:
                first = own[key.value].place.line
                self.problems.add(place, dotted(path, key.value), f"stands twice; the first is in line {first}")
            else:
                own[key.value] = Entry(place, self.convert(value, dotted(path, key.value)))
        return Keys({**merged, **own}, _place(node))

    def _merge(self, value: yaml.Node, path: str, merged: dict[str, Entry]) -> None:
        """`<<: *anchor` or `<<: [*a, *b]`; earlier ones win. Source: https://yaml.org/type/merge.html"""
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                for key, entry in self._mapping(source, path).entries.items():
                    merged.setdefault(key, entry)
            else:
                self.problems.add(_place(source), path, "<< takes a mapping, or a list of mappings")
