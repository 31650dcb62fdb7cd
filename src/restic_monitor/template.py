"""`{{ .Name }}` in addresses and paths: the part of Go's text/template that the Go tool's configurations use.

Source: https://pkg.go.dev/text/template (actions, trim markers). Everything else is refused, never passed through.
"""

from __future__ import annotations

import re

SUPPORTED = 'only {{ .Name }} and {{ "{{" }} are supported'
_ACTION = re.compile(r"\{\{(?P<left>-\s)?(?P<body>.*?)(?P<right>\s-)?\}\}", re.DOTALL)
_TRIM = " \t\r\n"


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
        raise ValueError(f"the template {text[start:]!r} has no end; write {{{{ .Name }}}}")
    return action


def _value(body: str, name: str) -> str:
    if body == ".Name":
        return name
    if body in ('"{{"', '"}}"'):
        return body.strip('"')
    raise ValueError(f"{{{{ {body} }}}} is not supported; {SUPPORTED}")
