"""Manifest names as Python names."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable

# Not keywords, but a field of this name would hide what the generated code refers to.
_RESERVED = frozenset({"self", "bool", "int", "float", "str"})


class NameClash(Exception):
    """Two names that would be one in Python."""


def _words(name: str) -> list[str]:
    """The words of a name: parts between ``_``, ``-`` and changes of case."""
    words = [""]
    for i, c in enumerate(name):
        if not (c.isascii() and c.isalnum()):
            words.append("")
            continue
        before = name[i - 1] if i else ""
        after = name[i + 1] if i + 1 < len(name) else ""
        if c.isupper() and (before.islower() or before.isdigit() or (before.isupper() and after.islower())):
            words.append("")
        words[-1] += c.lower()
    return [word for word in words if word]


def snake(name: str) -> str:
    """``days_past_due``, for fields and functions."""
    return "_".join(_words(name))


def upper(name: str) -> str:
    """``EARLY_STAGE``, for reasons."""
    return snake(name).upper()


def identifiers(kind: str, convert: Callable[[str], str], names: Iterable[str]) -> list[str]:
    """All ``names`` of one kind as identifiers; one that Python reserves gets a ``_`` at its end."""
    taken: dict[str, str] = {}
    for name in names:
        python = convert(name)
        if keyword.iskeyword(python) or python in _RESERVED:
            python += "_"
        if python in taken:
            raise NameClash(
                f"{kind} '{taken[python]}' and '{name}' would both be `{python}` in Python; rename one of them"
            )
        taken[python] = name
    return list(taken)
