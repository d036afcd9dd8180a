"""Stands in for the host in plain unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from . import log as _log
from . import models as _models
from .decision import Value

Rows = list[list[Value]]
Fake = Callable[[str, Rows], Sequence[float]]
"""Gets the model's name and the rows; gives a score a row, or raises a `ScoreError`."""


@contextmanager
def models(answers: Fake | Mapping[str, Sequence[float]]) -> Iterator[list[tuple[str, Rows]]]:
    """Has ``answers`` in place of the host's callable models; gives the calls made.

    ``answers`` is a function of the model's name and the rows, or the scores by the model's name.
    """
    calls: list[tuple[str, Rows]] = []

    def answer(_: int, name: str, rows: Rows) -> list[float]:
        calls.append((name, rows))
        scores = list(answers(name, rows) if callable(answers) else answers[name])
        if len(scores) != len(rows):
            raise AssertionError(f"the double of model '{name}' has {len(scores)} scores for {len(rows)} rows")
        return scores

    before = _models.answered_by(answer)
    try:
        yield calls
    finally:
        _models.answered_by(before)


@contextmanager
def log() -> Iterator[list[tuple[_log.Level, str]]]:
    """Keeps the lines that are logged meanwhile, each with its level."""
    lines: list[tuple[_log.Level, str]] = []
    before = _log.send_to(lambda level, message: lines.append((level, message)))
    try:
        yield lines
    finally:
        _log.send_to(before)
