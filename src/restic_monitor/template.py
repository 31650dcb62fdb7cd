"""`{{ .Name }}` in addresses and paths: the part of Go's text/template that the Go tool's configurations use.

Source: https://pkg.go.dev/text/template (actions, trim markers). Everything else is refused, never passed through.
"""

from __future__ import annotations

import re

SUPPORTED = 'only {{ .Name }} and {{ "{{" }} are supported'
_ACTION = re.compile(r"\{\{(?P<left>-\s)?(?P<body>.*?)(?P<right>\s-)?\}\}", re.DOTALL)
_TRIM = " \t\r\n"
_FIELD = re.compile(r"\.[A-Za-z]\w{0,30}")


def expand(text: str, name: str) -> str:
    """Replace `{{ .Name }}` by `name`. Raises ValueError with a sentence for the user."""
    done = ""
    position = 0
    trim_next = False
    while (start := text.find("{{", position)) >= 0:
        before = text[position:start].lstrip(_TRIM) if trim_next else text[position:start]
        action = _action_at(text, start)
        done += before.rstrip(_TRIM) if action["left"] else before
        done += _value(action["body"].strip(), name)
        trim_next = bool(action["right"])
        position = action.end()
    rest = text[position:]
    return done + (rest.lstrip(_TRIM) if trim_next else rest)


_QUOTED_BRACES = re.compile(r"\{\{(?P<left>-\s)?(?P<body>\s*\"(?:\{\{|\}\})\"\s*?)(?P<right>\s-)?\}\}")


def _action_at(text: str, start: int) -> re.Match[str]:
    action = _QUOTED_BRACES.match(text, start) or _ACTION.match(text, start)
    if not action:
        raise ValueError(f"a {{{{ has no }}}} behind it; {SUPPORTED}")
    return action


def _value(body: str, name: str) -> str:
    if body == ".Name":
        return name
    if body in ('"{{"', '"}}"'):
        return body.strip('"')
    # only what is surely a field is quoted: braces may stand in the password of an address
    what = f"{{{{ {body} }}}} is not supported" if _FIELD.fullmatch(body) else "this template is not supported"
    raise ValueError(f"{what}; {SUPPORTED}")
