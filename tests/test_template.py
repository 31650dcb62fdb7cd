"""`{{ .Name }}` as Go's text/template reads it, and nothing else of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from restic_monitor.template import expand

NAMES = st.text(max_size=20)
SUPPORTED = 'only {{ .Name }} and {{ "{{" }} are supported'


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{ .Name }}", "web"),
        ("{{.Name}}", "web"),
        ("{{   .Name\t}}", "web"),
        ("s3:https://s3.example.com/restic-{{ .Name }}", "s3:https://s3.example.com/restic-web"),
        ("{{ .Name }}/{{ .Name }}", "web/web"),
        ("a  {{- .Name -}}  b", "awebb"),
        ("a  {{- .Name }}  b", "aweb  b"),
        ("a  {{ .Name -}}  b", "a  webb"),
        ("{{ .Name -}} \n {{- .Name }}", "webweb"),
        ('{{ "{{" }} .Name }}', "{{ .Name }}"),
        ('{{"{{"}}', "{{"),
        ('{{ "}}" }}', "}}"),
        ('a {{- "{{" -}} b', "a{{b"),
        ("}} {", "}} {"),
        ("{ .Name }", "{ .Name }"),
        ("C:\\backup\\{{ .Name }}", "C:\\backup\\web"),
    ],
)
def test_the_name_is_put_in(text: str, expanded: str) -> None:
    assert expand(text, "web") == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ .name }}", f"{{{{ .name }}}} is not supported; {SUPPORTED}"),
        ("{{ .Repository }}", f"{{{{ .Repository }}}} is not supported; {SUPPORTED}"),
        ("{{ Name }}", f"this template is not supported; {SUPPORTED}"),
        ("{{ .Name | lower }}", f"this template is not supported; {SUPPORTED}"),
        ('{{ env "HOME" }}', f"this template is not supported; {SUPPORTED}"),
        ("{{ if .Name }}x{{ end }}", f"this template is not supported; {SUPPORTED}"),
        ("{{}}", f"this template is not supported; {SUPPORTED}"),
        ("{{-.Name}}", f"this template is not supported; {SUPPORTED}"),
        ("{{/* a comment */}}", f"this template is not supported; {SUPPORTED}"),
        ("{{ .Name", f"a {{{{ has no }}}} behind it; {SUPPORTED}"),
        ("{{ .Name }", f"a {{{{ has no }}}} behind it; {SUPPORTED}"),
        ("{{", f"a {{{{ has no }}}} behind it; {SUPPORTED}"),
    ],
)
def test_anything_else_is_refused_with_what_is_supported(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        expand(text, "web")


@pytest.mark.parametrize("text", ["rest:https://u:{{hunter2}}@host/", "https://host/{{.hunter2-and-more}}", "pw{{hunter2"])
def test_what_may_be_a_secret_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="supported") as error:
        expand(text, "web")
    assert "hunter2" not in str(error.value)


@given(st.text(), NAMES)
@example("}}", "")
def test_text_without_two_opening_braces_is_unchanged(text: str, name: str) -> None:
    assume("{{" not in text)
    assert expand(text, name) == text


@given(st.lists(st.text().filter(lambda text: "{" not in text), min_size=1), NAMES)
@example(["", ""], "{{ .Name }}")
@example(["", ""], "{{")
def test_the_name_stands_for_each_template_as_it_is(parts: list[str], name: str) -> None:
    assert expand("{{ .Name }}".join(parts), name) == name.join(parts)


@given(st.text(alphabet='{}.-Name "\n'), NAMES)
def test_braces_in_any_order_are_expanded_or_refused_with_a_sentence(text: str, name: str) -> None:
    refusal = SUPPORTED
    try:
        expand(text, name)
    except ValueError as error:
        refusal = str(error)
    assert refusal.endswith(SUPPORTED)


@given(st.text())
def test_braces_can_be_written(text: str) -> None:
    assert expand(text.replace("{{", '{{ "{{" }}'), "web") == text
