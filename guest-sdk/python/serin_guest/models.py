"""Models that a strategy calls with rows of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .decision import Value

Host = Callable[[int, str, list[list[Value]]], list[float]]


class ScoreError(Exception):
    """Why there are no scores. A strategy that can do without them should; the record holds the cause."""


class UnknownModel(ScoreError):
    """The manifest has no callable model at this position."""


class InvalidRow(ScoreError):
    """A row does not fit the model's inputs; the text says where."""


class Timeout(ScoreError):
    """The time that this decision has left ran out."""


class Unavailable(ScoreError):
    """The model failed; the record holds the cause."""


class LimitReached(ScoreError):
    """The call would pass the limit on calls or on rows."""


class Model:
    """A callable model of the manifest; the generated ``models`` has one for each."""

    __slots__ = ("name", "position")

    def __init__(self, position: int, name: str) -> None:
        self.position = position
        self.name = name

    def score(self, rows: Iterable[Iterable[Value]]) -> list[float]:
        """Scores rows that hold the model's inputs in the order of the model's own inputs.

        One score a row, in the same order. Ask for all rows at once: calls are limited, and
        each has its price. Raises a `ScoreError` where there are no scores.
        """
        return _host(self.position, self.name, [list(row) for row in rows])

    def __repr__(self) -> str:
        return f"models.{self.name}"


def _nobody(position: int, name: str, rows: list[list[Value]]) -> list[float]:
    raise RuntimeError(f"model '{name}' was called, and no host is here; use serin_guest.testing.models")


_host: Host = _nobody


def answered_by(host: Host) -> Host:
    """Sends calls to ``host`` from here on, and gives the one before; not for strategies."""
    global _host
    before, _host = _host, host
    return before
