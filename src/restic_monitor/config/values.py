"""What settings mean, read at last: texts of the file, and what they name outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restic_monitor.config import credentials, keys
from restic_monitor.config.credentials import Credentials
from restic_monitor.config.draft import Block, Draft, Setting
from restic_monitor.config.keys import Context
from restic_monitor.config.sources import Source
from restic_monitor.secret import Secret


@dataclass(frozen=True, slots=True)
class Values:
    """Reads settings of a draft; mistakes go to the draft's problems.

    `revealed` grows with every secret that is read: nobody may see it in a message, under whatever name it stands in
    restic's environment.
    """

    draft: Draft
    environment: Mapping[str, str] = field(repr=False)
    revealed: list[Secret] = field(default_factory=list)
    credentials: Credentials = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "credentials", credentials.of(self.environment))

    def value(self, setting: Setting, name: str, *, plain: bool = False) -> Any:
        """What a setting means for the repository `name`; None when that cannot be told, which is noted. `plain`: no secret,
        though its key may hold one: a region that is taken out of messages would leave no word of where."""
        context = Context(name, self.draft.folder)
        raw = setting.raw
        try:
            text = self._text(raw, context)
            is_secret = not raw.is_path if isinstance(raw, Source) else setting.key.secret and not plain
            if is_secret:
                self.revealed.append(Secret(text))
        except ValueError as error:
            self.draft.problems.add(setting.place, setting.path, str(error))
            return None
        try:
            return self._placed(setting, setting.key.value(text, context))
        except ValueError as error:
            # the text comes from outside and may be a secret: the message must not quote it
            message = f"what {raw} holds is not fit for {setting.key.name}" if isinstance(raw, Source) else str(error)
            self.draft.problems.add(setting.place, setting.path, message)
            return None

    def _text(self, raw: str | Source, context: Context) -> str:
        if isinstance(raw, str):
            return raw
        text = raw.read(context, self.environment, self.credentials)
        if not text:
            raise ValueError(f"{raw}{self._origin(raw)} is empty")
        return text

    def _origin(self, raw: Source) -> str:
        """Where a credential came from: what it is called may be a digest."""
        if raw.kind != "from_credential":
            return ""
        path = self.credentials.path(raw.name)
        original = self.credentials.original(path)
        return "" if original == path else f", which is {original},"

    def _placed(self, setting: Setting, value: Any) -> Any:
        """With the places of credentials in it, where it names files."""
        if setting.key.parse is keys.path:
            return str(self.credentials.place(Path(value)))
        return self.credentials.in_text(value) if setting.key.parse is keys.option else value

    def unreadable(self, path: str, setting: Setting | None) -> str | None:
        """Why a file that must hold something cannot be used, in a sentence. A pipe is not touched: it can be read once."""
        called = str(self.credentials.original(Path(path)))
        if setting and isinstance(setting.raw, Source) and not setting.raw.is_path:
            called = f"the file that {setting.raw} names"  # what it holds may be the secret itself, by mistake
        try:
            if Path(path).is_fifo():
                return None
            with Path(path).open("rb") as file:
                return None if file.read(1) else f"{called} is empty"
        except OSError as error:
            return f"cannot read {called}: {(error.strerror or 'unreadable').lower()}"

    def get(self, block: Block, key: str) -> Any:
        setting = self.draft.setting(block, key)
        return self.value(setting, block.name) if setting else None
