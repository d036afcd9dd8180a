"""What a strategy does not have in the sandbox, and what stands in its place. Loaded in the
component only, before the author's module; `close` is called after it.

Without this a clock or a file would trap without a word, past every ``except``, and `random` would
give the numbers that it happened to have when the component was built, the same ones in every
decision.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from . import asked

_CLOCK = (
    "a strategy has no clock: the time of the decision is input.time_ms; "
    "datetime.fromtimestamp(input.time_ms / 1000, UTC) makes a datetime of it"
)
_CHANCE = (
    "a strategy draws nothing: give several candidates with probabilities, and the host draws; "
    "random.Random(seed) is yours to use"
)
_FILES = "a strategy has no files while it decides: read them at the top of strategy.py, where the build does it"


class NotInSandbox(RuntimeError):
    """A strategy asked for what the sandbox does not have."""


class NoFile(NotInSandbox, FileNotFoundError):
    """The same, where the standard library expects that a file may be missing."""


now_ms = 0
"""The time of the decision that is made; the log's lines have it."""


def _refuses(why: str, error: type[NotInSandbox] = NotInSandbox) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise error(why)

    return refuse


def _clock(name: str) -> Callable[[], Any]:
    """Refuses, but for `logging`, which stamps every line and can't do without."""

    def read() -> Any:
        if sys._getframe(1).f_globals.get("__name__") != "logging":
            raise NotInSandbox(_CLOCK)
        return now_ms * 1_000_000 if name == "time_ns" else now_ms / 1000

    return read


def _needs_time(function: Callable[..., Any], position: int) -> Callable[..., Any]:
    """The same function; it reads the clock where it is given no time."""

    def checked(*given: Any) -> Any:
        if len(given) <= position or given[position] is None:
            raise NotInSandbox(_CLOCK)
        return function(*given)

    return checked


def _close_time() -> None:
    for name in ["time", "time_ns"]:
        setattr(time, name, _clock(name))
    for name in ["monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"]:
        setattr(time, name, _refuses(_CLOCK))
    for name, position in [("localtime", 0), ("gmtime", 0), ("ctime", 0), ("asctime", 0), ("strftime", 1)]:
        setattr(time, name, _needs_time(getattr(time, name), position))


def _close_chance() -> None:
    for name, value in list(vars(random).items()):
        # The module's functions are methods of one hidden generator.
        if getattr(value, "__self__", None) is getattr(random, "_inst"):
            setattr(random, name, _refuses(_CHANCE))
    seed = random.Random.seed

    def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            raise NotInSandbox(_CHANCE)
        seed(self, a, version)

    setattr(random.Random, "seed", seeded)
    setattr(random, "_urandom", _refuses(_CHANCE))
    setattr(os, "urandom", _refuses(_CHANCE))


def _close_dates() -> None:
    """Puts classes that have no ``now`` in the place of those that trap there.

    The built-in ones can't be changed. What these make is of their own class, and whatever the
    built-in ones make counts as theirs.
    """
    import datetime as dates

    plain_of: dict[type, type] = {}

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            plain = plain_of.get(cls)
            return type.__instancecheck__(cls, instance) if plain is None else isinstance(instance, plain)

        def __subclasscheck__(cls, subclass: type) -> bool:
            plain = plain_of.get(cls)
            return type.__subclasscheck__(cls, subclass) if plain is None else issubclass(subclass, plain)

    refuse: Any = staticmethod(_refuses(_CLOCK))
    for plain, names in [(dates.date, ["today"]), (dates.datetime, ["today", "now", "utcnow"])]:
        body = {"__module__": "datetime", "__slots__": (), **dict.fromkeys(names, refuse)}
        stand_in = Kind(plain.__name__, (plain,), body)
        plain_of[stand_in] = plain
        setattr(dates, plain.__name__, stand_in)


class _NoModules:
    """Stands in for all finders once the build is over: there are no files to load from."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        raise ModuleNotFoundError(
            f"'{name}' was not loaded when the strategy was built: import it at the top of strategy.py", name=name
        )


def close() -> None:
    """Takes away what is there only while the component is built: files."""
    import builtins
    import io
    from importlib.machinery import SourceFileLoader

    refuse = _refuses(_FILES, NoFile)
    # Tracebacks ask it for lines of source.
    setattr(SourceFileLoader, "get_data", refuse)
    for module, names in [(builtins, ["open"]), (io, ["open"]), (os, ["stat", "open", "listdir", "scandir"])]:
        for name in names:
            setattr(module, name, refuse)
    common = sys.modules.get("zoneinfo._common")
    if common is not None:

        def zone(key: str) -> NoReturn:
            raise sys.modules["zoneinfo"].ZoneInfoNotFoundError(
                f"{key}: {_FILES}; ZoneInfo('{key}') there needs the package tzdata in packages.txt"
            )

        setattr(common, "load_tzdata", zone)
    sys.meta_path[:] = [_NoModules()]


_close_time()
_close_chance()
if asked.DATES:
    _close_dates()
