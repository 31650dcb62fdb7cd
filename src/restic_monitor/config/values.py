"""What settings mean, read at last: texts of the file, and what they name outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    def value(self, setting: Setting, name: str, *, plain: bool = False) -> Any:
        """What a setting means for the repository `name`; None when that cannot be told, which is noted. `plain`: no secret,
        though its key may hold one: a region that is taken out of messages would leave no word of where."""
        context = Context(name, self.draft.folder)
        raw = setting.raw
        try:
            text = raw.read(context, self.environment) if isinstance(raw, Source) else raw
            if isinstance(raw, Source) and not text:
                raise ValueError(f"{raw} is empty")
            if isinstance(raw, Source) or (setting.key.secret and not plain):
                self.revealed.append(Secret(text))
        except ValueError as error:
            self.draft.problems.add(setting.place, setting.path, str(error))
            return None
        try:
            return setting.key.value(text, context)
        except ValueError as error:
            # the text comes from outside and may be a secret: the message must not quote it
            message = f"what {raw} holds is not fit for {setting.key.name}" if isinstance(raw, Source) else str(error)
            self.draft.problems.add(setting.place, setting.path, message)
            return None

    def get(self, block: Block, key: str) -> Any:
        setting = self.draft.setting(block, key)
        return self.value(setting, block.name) if setting else None
