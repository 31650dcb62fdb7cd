"""What is asked of a repository that is looked at by a listing, and that no listing sees: hosts and sizes."""

from __future__ import annotations

from restic_monitor.config import keys, modes
from restic_monitor.config.draft import Block
from restic_monitor.config.expected import is_nothing
from restic_monitor.config.problems import dotted
from restic_monitor.config.values import Values


def refuse(values: Values, block: Block, chosen: tuple[str, str], *, password: bool) -> None:
    """Expectations, and limits of size of the repository itself. `chosen` is the mode and where it comes from."""
    mode, origin = chosen
    by_mode, once = mode != modes.DEFAULT, origin == "--mode"
    why = f"by one: {f'mode {mode} ({origin})' if by_mode else 'there is no password'}"
    wanted = [*([] if password else ["password_file: PATH"]), *(["mode: restic"] if by_mode else [])]
    advice = f"write {' and '.join(wanted)}, or "
    if values.draft.expected(block):
        place = block.expect_place or block.place
        remedy = (
            "leave out --mode" if once else advice + ("remove expect" if block.expect_place else "move expect out of defaults")
        )
        message = f"a listing sees no hosts, and this repository is looked at {why}; {remedy}"
        values.draft.problems.add(place, dotted(block.path, "expect"), message)
    for name in keys.LIMITS:
        setting = block.settings.get(name)
        if setting and not is_nothing(values.value(setting, block.name)):
            remedy = "leave out --mode" if once else f"{advice}remove it"
            message = f"a listing sees no sizes, and this repository is looked at {why}; {remedy}"
            values.draft.problems.add(setting.place, setting.path, message)


def notes(values: Values, block: Block) -> tuple[str, ...]:
    """Limits of size that are meant for all repositories, and are not judged here."""
    defaults = values.draft.defaults.settings
    inherited = [name for name in keys.LIMITS if name != "baseline" and name in defaults and name not in block.settings]
    names = [name for name in inherited if not is_nothing(values.value(defaults[name], block.name))]
    verb = "are" if len(names) > 1 else "is"
    return (f"{', '.join(names)} {verb} not judged: a listing sees no sizes",) if names else ()
