"""The environment that restic gets, and what a listing takes out of it: credentials of the store, proxies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from restic_monitor import environment as environments
from restic_monitor.config import keys
from restic_monitor.config.draft import Block, Draft, Setting
from restic_monitor.config.problems import dotted
from restic_monitor.config.values import Values
from restic_monitor.environment import Layer, Variable
from restic_monitor.secret import may_hold_secret


class Sketch(Struct, frozen=True):
    """restic's environment by name: each variable's origin, and its setting in the file, if it has one.

    The values of settings are not read yet: theirs are placeholders, "" where the file itself says so.
    """

    variables: Mapping[str, Variable]
    settings: Mapping[str, Setting]
    lost_halves: Sequence[str]


@dataclass(slots=True)
class Surroundings:
    """`layers` are the process environment and, if there is one, the environment file: merged once for all repositories."""

    draft: Draft
    layers: tuple[Layer, ...]
    values: Values
    _outside: dict[str, Variable] = field(init=False, repr=False)
    _last: tuple[Block, Sketch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._outside = environments.merge(self.layers)

    def sketch(self, block: Block) -> Sketch:
        """What restic's environment will hold, before anything secret is read."""
        if not self._last or self._last[0] is not block:
            self._last = block, self._sketch(block)
        return self._last[1]

    def _sketch(self, block: Block) -> Sketch:
        path = dotted("repositories", block.name)
        own: dict[str, dict[str, Setting | None]] = {
            "defaults.extra_env": self.draft.defaults.extra_env,
            f"{path}.extra_env": block.extra_env,
            f"{path}.password": self._password_variables(block),
        }
        inside = [Layer(origin, _marked(settings)) for origin, settings in own.items()]
        merged = environments.merge(inside, self._outside)
        settings = {
            name: setting
            for origin, variables in own.items()
            for name, setting in variables.items()
            if setting and name in merged and merged[name].origin == origin
        }
        return Sketch(merged, settings, environments.lost_halves([*self.layers, *inside], merged))

    def _password_variables(self, block: Block) -> dict[str, Setting | None]:
        variables: dict[str, Setting | None] = {}
        for setting in self.draft.password_settings(block):
            if setting.key.name == "insecure_no_password":
                variables = dict.fromkeys(environments.PASSWORD)
            else:
                variables[f"RESTIC_{setting.key.name.upper()}"] = setting
        return variables

    def has_password(self, block: Block) -> bool:
        """Whether a password, or the word that there is none, comes from anywhere. Nothing is read for it."""
        if self.draft.password_settings(block) or self.draft.is_wrong(block, *keys.PASSWORDS, *environments.PASSWORD):
            return True
        variables = self.sketch(block).variables
        return any(variables[name].value for name in environments.PASSWORD if name in variables)

    def environment(self, block: Block, *, without: Collection[str] = ()) -> dict[str, Variable]:
        """Only what restic gets is read: not a default that the repository replaces, and nothing that is named `without`."""
        sketch = self.sketch(block)
        for sentence in sketch.lost_halves:
            self.draft.problems.add(block.place, dotted("repositories", block.name), sentence)
        environment = {}
        for name, variable in sketch.variables.items():
            if name in without:
                continue
            if not (setting := sketch.settings.get(name)):
                environment[name] = variable
            elif (value := self.values.value(setting, block.name, plain=not may_hold_secret(name))) is not None:
                environment[name] = Variable(value, variable.origin)
        return {name: self._placed(variable) for name, variable in environment.items()}

    def _placed(self, variable: Variable) -> Variable:
        """The name of a file that systemd handed over: RESTIC_PASSWORD_FILE, RCLONE_CONFIG, whatever takes one."""
        places = self.values.credentials.places
        if not variable.value.startswith("/") or (path := Path(variable.value)) not in places:
            return variable
        return Variable(str(places[path]), variable.origin)


def _marked(settings: Mapping[str, Setting | None]) -> dict[str, str | None]:
    return {name: ("(not read)" if setting.raw else "") if setting else None for name, setting in settings.items()}
