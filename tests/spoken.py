"""Which commands are sent to a server."""

from __future__ import annotations

from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent


class Spoken(CommandListener):
    """What is asked of a server, and what it answers, by the name of the command."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Any]] = {}
        self.of: dict[str, list[Any]] = {}

    def started(self, event: CommandStartedEvent) -> None:
        self.asked.setdefault(event.command_name, []).append(event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self.of.setdefault(event.command_name, []).append(event.reply)

    def failed(self, event: CommandFailedEvent) -> None: ...
