"""Lines for the strategy's author, kept in the decision's record within a limit.

Reasons are the better place for what matters to a decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Level = Literal["debug", "info", "warn"]
Sink = Callable[[Level, str], None]


def debug(message: str) -> None:
    """Keeps a line for the author alone."""
    send("debug", message)


def info(message: str) -> None:
    """Keeps a line that is worth knowing."""
    send("info", message)


def warn(message: str) -> None:
    """Keeps a line about what is not as it should be."""
    send("warn", message)


def send(level: Level, message: str) -> None:
    """Keeps a line of a level that the program chooses."""
    _sink(level, str(message))


def _nowhere(level: Level, message: str) -> None:
    pass


_sink: Sink = _nowhere


def send_to(sink: Sink) -> Sink:
    """Sends lines to ``sink`` from here on, and gives the sink before; not for strategies."""
    global _sink
    before, _sink = _sink, sink
    return before
