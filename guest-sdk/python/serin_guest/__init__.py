"""Write a Serin decision strategy in Python.

A strategy's own names come from ``plugin``, the module that ``python -m serin_guest generate``
writes from ``plugin.toml``; this package holds what all strategies share. See the README.
"""

from . import log
from .decision import ActionType, Candidate, Record, Refusal, Value, normalized
from .models import InvalidRow, LimitReached, Model, ScoreError, Timeout, Unavailable, UnknownModel

__version__ = "0.1.0"

__all__ = [
    "ActionType",
    "Candidate",
    "InvalidRow",
    "LimitReached",
    "Model",
    "Record",
    "Refusal",
    "ScoreError",
    "Timeout",
    "Unavailable",
    "UnknownModel",
    "Value",
    "log",
    "normalized",
]
