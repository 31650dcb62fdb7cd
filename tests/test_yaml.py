"""YAML as nodes: every plain scalar is its text, every mistake has a line, and nothing makes it crash or hang."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restic_monitor.config import tree
from restic_monitor.config.problems import Place, Problems

Plain = dict[str, "Plain"] | list["Plain"] | str | None


def plain(node: tree.Node) -> Plain:
    if isinstance(node, tree.Keys):
        return {name: plain(entry.value) for name, entry in node.entries.items()}
    return [plain(item) for item in node.items] if isinstance(node, tree.Items) else node.value


def read(text: str) -> tuple[Plain, list[str]]:
    problems = Problems("config.yaml")
    node = tree.read(text, problems)
    return plain(node) if node else None, [message for _, message in sorted(problems.found)]


def read_well(text: str) -> Plain:
    value, problems = read(text)
    assert problems == []
    return value


SCALARS = [
    *("12345678", "0123", "0x1f", "1_000", "no", "yes", "on", "off", "y", "N", "true", "False", "1e5", "1.0", ".5", ".inf"),
    *(".nan", "2024-01-01", "2024-01-01T00:00:00Z", "1:30", "190:20:30", "+1", "-0", "=", "0o17", "0b1", "a#b", "1d", "ø"),
    *("C:\\backup", "C:/backup", "\\\\server\\share", "user@host", "https://u:p@host:80/x?y#z", "a:b", "x{{y}}", "a - b"),
]


@pytest.mark.parametrize("text", SCALARS)
def test_a_plain_scalar_is_its_text_as_value_and_as_key(text: str) -> None:
    assert read_well(f"a: {text}") == {"a": text}
    assert read_well(f"a:\n  - {text}") == {"a": [text]}
    assert read_well(f"{text}: a") == {text: "a"}


@pytest.mark.parametrize("text", ["~", "null", "Null", "NULL", ""])
def test_null_and_nothing_are_not_set(text: str) -> None:
    assert read_well(f"a: {text}\nb: c") == {"a": None, "b": "c"}


@pytest.mark.parametrize("text", ["'~'", '"null"', '""', "''", "|-\n  null", "!!str null"])
def test_a_quoted_null_is_a_text(text: str) -> None:
    assert read_well(f"a: {text}") in ({"a": "~"}, {"a": "null"}, {"a": ""})


@pytest.mark.parametrize(
    ("text", "value"), [("!!int '5'", "5"), ("!!float 1e5", "1e5"), ("!!bool no", "no"), ("!!binary aGk=", "aGk=")]
)
def test_tags_of_yaml_itself_change_nothing(text: str, value: str) -> None:
    assert read_well(f"a: {text}") == {"a": value}


def test_block_scalars_and_folded_lines_are_read() -> None:
    assert read_well("a: |\n  one\n  two\nb: >-\n  one\n  two\nc: one\n  two") == {
        "a": "one\ntwo\n",
        "b": "one two",
        "c": "one two",
    }


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff", exclude_categories=["Cc"]), max_size=100)
"""YAML knows a key from a text by 1024 characters, and each of these may become ten."""


def escaped(text: str) -> str:
    return '"' + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text) + '"'


@given(TEXT, TEXT)
@example("no", "1:30")
@example("<<", "~")
@example("\\", "\u2028")
def test_any_text_in_quotes_survives_as_value_and_as_key(key: str, value: str) -> None:
    single = "'" + value.replace("'", "''") + "'"
    folded = set(value) & set("\u2028\u2029")  # line ends inside of quotes become blanks
    assert read_well(f"{escaped(key)}: {escaped(value) if folded else single}") == {key: value}


@given(st.from_regex(r"[A-Za-z0-9_.+~=<-][A-Za-z0-9_.+~=:/@\\{}\[\]<-]*[A-Za-z0-9]", fullmatch=True))
@example("0o14")
@example("1_0")
def test_any_plain_word_keeps_its_text(word: str) -> None:
    expected = None if word in ("null", "Null", "NULL") else word
    assert read_well(f"key: {word}\n") == {"key": expected}


def test_every_key_has_its_line_and_column() -> None:
    problems = Problems("config.yaml")
    root = tree.read("a: 1\n\nb:\n  c: 2\n  d: [3,\n    4]\n", problems)
    assert isinstance(root, tree.Keys)
    b = root.entries["b"]
    assert isinstance(b.value, tree.Keys)
    d = b.value.entries["d"].value
    assert isinstance(d, tree.Items)
    assert [root.entries["a"].place, b.place, b.value.entries["c"].place] == [Place(1, 1), Place(3, 1), Place(4, 3)]
    assert [item.place for item in d.items] == [Place(5, 7), Place(6, 5)]


# anchors, aliases, merges


def test_anchors_and_merges() -> None:
    text = """
x-one: &one {a: 1, b: 1}
x-two: &two
  b: 2
  c: 2
one: {<<: *one, a: mine}
after: {a: mine, <<: *one}
both: {<<: [*one, *two]}
turned: {<<: [*two, *one]}
chain: {<<: {<<: *two, c: 3}}
alias: *one
name: &name text
again: *name
"<<": a key like others
"""
    value = read_well(text)
    assert isinstance(value, dict)
    assert value["one"] == value["after"] == {"a": "mine", "b": "1"}
    assert value["both"] == {"a": "1", "b": "1", "c": "2"}
    assert value["turned"] == {"a": "1", "b": "2", "c": "2"}
    assert value["chain"] == {"b": "2", "c": "3"}
    assert value["alias"] == {"a": "1", "b": "1"}
    assert value["again"] == "text"
    assert value["<<"] == "a key like others"


@pytest.mark.parametrize("merged", ["text", "[a, b]", "", "[[{a: 1}]]"])
def test_only_mappings_can_be_merged(merged: str) -> None:
    assert read(f"a:\n  <<: {merged}")[1][0] == "config.yaml, line 2: a: << takes a mapping, or a list of mappings"


# what is refused

TOO_MUCH = "its aliases expand to too much, too deep or to themselves; write the values out"
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 60))
MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{k{i}a: *a{i - 1}, k{i}b: *a{i - 1}}}\n" for i in range(1, 40))
LADDER = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 500))
MERGE_LADDER = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 500))
BESIDE = "a: &a [" + ",".join(["x"] * 300) + "]\nb: [" + ",".join(["*a"] * 900) + "]\n"


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        MERGE_BOMB,
        LADDER,
        MERGE_LADDER,
        BESIDE,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "&a {a: *a}",
        "a: &a {<<: *a}",
        "&a [*a, *a]",
    ],
    ids=[
        "bomb",
        "merges",
        "ladder",
        "ladder of merges",
        "wide",
        "list in itself",
        "mapping in itself",
        "root",
        "merge",
        "twice",
    ],
)
def test_a_tree_that_explodes_or_holds_itself_is_refused_at_once(text: str) -> None:
    began = time.monotonic()
    assert read(text)[1] == [f"config.yaml, line 1: {TOO_MUCH}"]
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_nesting_is_limited_before_anything_recursive_meets_it(opening: str) -> None:
    began = time.monotonic()
    value, problems = read(opening * 100_000)
    assert value is None
    assert problems == ["config.yaml, line 1: not YAML: nested too deeply"]
    assert time.monotonic() - began < 1


def test_a_file_as_large_as_can_be_is_read_in_time() -> None:
    text = "".join(f"key-{i}: {{a: [1, 2], b: text}}\n" for i in range(10_000))
    began = time.monotonic()
    value = read_well(text)
    assert isinstance(value, dict)
    assert len(value) == 10_000
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a: stands twice; the first is in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "line 3: a.b: stands twice; the first is in line 2"),
        ("no: 1\nno: 2\n", "line 2: no: stands twice; the first is in line 1"),
        ("'a b': 1\n'a b': 2\n", "line 2: 'a b': stands twice; the first is in line 1"),
        ("a: 1\n? [b]\n: 2\n", "line 2: a list cannot be a key"),
        ("~: 1\n", "line 1: ~ cannot be a key; put it in quotes if it is a name"),
        ("null: 1\n", "line 1: null cannot be a key; put it in quotes if it is a name"),
        ("? \n: 1\n", "line 1: nothing cannot be a key; put it in quotes if it is a name"),
        ("a: !vault |\n  x\n", "line 1: a: a value that begins with ! needs quotes; YAML takes it for a tag"),
        ("a: !!python/object:os.system x\n", ""),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML: a second document begins here; one file is one document"),
        ("a: */15 * * * *\n", 'line 1: not YAML: a value that begins with * or & needs quotes, like "*/15 * * * *"'),
        ("a: * 22 * * 1-5\n", 'line 1: not YAML: a value that begins with * or & needs quotes, like "*/15 * * * *"'),
        ("a: *canary\n", "line 1: not YAML: a value that begins with * needs quotes, unless it names an &anchor further up"),
        ("a: !e!canary x\n", "line 1: not YAML: a value that begins with ! needs quotes"),
        ("a: &b 1\nc: &b 2\n", "line 2: not YAML: a second &anchor of the same name; a value that begins with & needs quotes"),
        ("a: @canary\n", "line 1: not YAML: a value cannot begin with this character; put it in quotes"),
        ("a: `canary`\n", "line 1: not YAML: a value cannot begin with this character; put it in quotes"),
        ("a: ,canary\n", "line 1: not YAML: a value cannot begin with this character; put it in quotes"),
        ("a: %canary\n", "line 1: not YAML: a value cannot begin with this character; put it in quotes"),
        (
            "a: canary: b\n",
            "line 1: not YAML: a ': ' where none can be; put the value in quotes, or line the key up with the others",
        ),
        (
            "a: 1\n b: 2\n",
            "line 2: not YAML: a ': ' where none can be; put the value in quotes, or line the key up with the others",
        ),
        ("a:\n  b: 1\n c: 2\n", "line 3: not YAML: not lined up with the keys above, or text behind a closing quote"),
        ("a: 'b' canary\n", "line 1: not YAML: not lined up with the keys above, or text behind a closing quote"),
        (
            "a: - b\n",
            "line 1: not YAML: a '- ' where none can be; put the value in quotes, or begin the list on a line of its own",
        ),
        ("a: 1\nb: 'canary\nc: 2\nd: 3\n", "line 2: not YAML: the quote that begins here has no end"),
        (
            "a: 1\nb: [canary\nc: 2\nd: 3\n",
            "line 2: not YAML: the [ that begins here has no ]; a value that begins with [ needs quotes",
        ),
        ("a: 1\nb: {canary\n", "line 2: not YAML: the { that begins here has no }; a value that begins with { needs quotes"),
        ("a: 1\npush_token:canary\nb: 2\n", "line 2: not YAML: no ': ' behind the key; a blank must follow the colon"),
        (
            'a: "C:\\Users\\x"\n',
            "line 1: not YAML: a backslash in double quotes has a meaning of its own; put the value in single quotes",
        ),
        (
            'a: "\\canary"\n',
            "line 1: not YAML: a backslash in double quotes has a meaning of its own; put the value in single quotes",
        ),
        ("a:\n\tb: 1\n", "line 2: not YAML: a tab; YAML wants blanks before a key"),
        ("a: b\n\tc: d\n", "line 2: not YAML: a tab; YAML wants blanks before a key"),
        ("a: é\nb: é\nc: \x07\n", "line 3: not YAML: a control character, or another that YAML does not allow"),
        ("a: {{ .Name }}/x\n", 'line 1: not YAML: a value that begins with {{ needs quotes: url: "{{ .Name }}"'),
        ("a: |x\n  b\n", "line 1: not YAML: wrong in its structure"),
    ],
)
def test_a_mistake_has_its_line_and_what_to_write_and_quotes_no_value(text: str, message: str) -> None:
    problems = read(text)[1]
    assert problems == ([f"config.yaml, {message}"] if message else [])
    assert "canary" not in "".join(problems)


def test_an_unquoted_template_is_known_as_such() -> None:
    problems = Problems("config.yaml")
    root = tree.read("url: {{ .Name }}", problems)
    assert isinstance(root, tree.Keys)
    value = root.entries["url"].value
    assert isinstance(value, tree.Keys)
    assert value.braces


MISTAKES = [
    "a: *canary",
    "a: @canary",
    'a: "\\canary"',
    "a: !e!canary x",
    "a: canary: b",
    "a: 1\nb: 'canary",
    "a: [canary",
]


def test_the_parser_without_c_gives_the_same_sentences() -> None:
    """Where PyYAML was built without libyaml."""
    code = f"""
import sys
sys.modules["yaml._yaml"] = None
from restic_monitor.config import problems, tree
for text in {MISTAKES}:
    found = problems.Problems("config.yaml")
    tree.read(text, found)
    print(*(message for _, message in found.found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [message for text in MISTAKES for message in read(text)[1]]


# whatever else


@given(st.text(alphabet="ab:-?,[]{}&*!|>'\"%@`#\\\n\t <~=.0é\u2028\ufeff"))
@settings(max_examples=500)
@example("? {a: b}\n: c")
@example("- - - &a\n  *a : *a")
def test_random_text_is_read_or_refused(text: str) -> None:
    value, problems = read(text)
    assert value is None or problems == [] or all(message.startswith("config.yaml, line ") for message in problems)


@given(st.binary())
def test_random_bytes_are_read_or_refused(content: bytes) -> None:
    text = content.decode("latin-1")
    assert all(message.startswith("config.yaml, line ") for message in read(text)[1])
