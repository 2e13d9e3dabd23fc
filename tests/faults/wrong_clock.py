"""A clock that is wrong in this process alone, for all modules that are imported by then."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from typing import Any

RIGHT = time.time
RIGHT_DATE, RIGHT_DATETIME = datetime.date, datetime.datetime


def shift(seconds: int) -> None:
    """From now on every clock of Python but the monotonic one is ahead by so many seconds, or behind."""

    def at_the_wrong_time(function: Callable[[float], Any]) -> Callable[..., Any]:
        return lambda moment=None: function(RIGHT() + seconds if moment is None else moment)

    class Date(RIGHT_DATE, metaclass=_like(RIGHT_DATE)):
        @classmethod
        def today(cls) -> Any:
            return RIGHT_DATE.fromtimestamp(RIGHT() + seconds)

    class Datetime(RIGHT_DATETIME, metaclass=_like(RIGHT_DATETIME)):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return RIGHT_DATETIME.fromtimestamp(RIGHT() + seconds, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    # By identity: not everything that a module holds can be compared.
    wrong = {
        id(time.time): lambda: RIGHT() + seconds,
        id(time.time_ns): lambda: int((RIGHT() + seconds) * 1e9),
        **{id(function): at_the_wrong_time(function) for function in (time.gmtime, time.localtime, time.ctime)},
        id(RIGHT_DATE): Date,
        id(RIGHT_DATETIME): Datetime,
    }
    # None stands where a module shall not be looked for.
    for module in [module for name, module in sys.modules.items() if name != __name__ and module is not None]:
        for name, value in list(vars(module).items()):
            if id(value) in wrong:
                setattr(module, name, wrong[id(value)])


def _like(right: type) -> type:
    """A metaclass whose classes call everything theirs that belongs to the right class."""

    class Like(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, right)

    return Like
