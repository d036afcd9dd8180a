"""Between positions and names: what the generated code and the component's entry call.

Strategies need none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .decision import Candidate, Refusal, Value


class Registered:
    """The function that ``@strategy`` was put on."""

    __slots__ = ("decide",)

    def __init__(self, decide: Callable[[Any], object]) -> None:
        self.decide = decide


_registered: list[Registered] = []


def register(decide: Callable[[Any], object]) -> None:
    """Makes ``decide`` the strategy. A module that is loaded again replaces its own."""
    _registered[:] = [r for r in _registered if _place(r.decide) != _place(decide)]
    _registered.append(Registered(decide))


def _place(function: Callable[..., object]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def registered() -> Registered:
    """The strategy."""
    match _registered:
        case [one]:
            return one
        case []:
            raise RuntimeError("strategy.py has no strategy; put @strategy on the function that decides")
        case several:
            names = ", ".join(".".join(_place(r.decide)) for r in several)
            raise RuntimeError(f"@strategy is on several functions: {names}; a plugin has one")


_CASES: dict[str, type] = {"Missing": type(None), "Boolean": bool, "Integer": int, "Number": float, "Text": str}


class Boundary:
    """The WIT types of one component, fitted so that values cross it at little cost."""

    def __init__(self, types: ModuleType, read: Callable[..., Any]) -> None:
        """Fits the ``types`` that componentize-py generated, before it looks them up.

        It calls a record's or a case's class with what the host sent. So `Context` becomes the
        plugin's own reader, and a value's classes give the plain value. On the way back it
        asks for a value's class, and for ``.value``: instances exist for that direction only.
        """
        types.Context = read  # type: ignore[attr-defined]
        self._cases: dict[type, type] = {}
        for case, plain in _CASES.items():
            name = f"Value_{case}"
            # Calling the class calls the built-in type: that gives what it gets, and costs no frame.
            lifting: Any = type(f"_Lifting{case}", (type,), {"__call__": plain})
            self._cases[plain] = lifting.__new__(lifting, name, (), {"__slots__": ("value",)})
            setattr(types, name, self._cases[plain])
        self._types = types

    def value(self, plain: Value) -> Any:
        """A value for the host."""
        lowered: Any = object.__new__(self._cases[type(plain)])
        lowered.value = plain
        return lowered

    def decision(self, answer: object) -> Any:
        """An answer for the host."""
        if isinstance(answer, Candidate):
            answer = (answer,)
        elif not isinstance(answer, (list, tuple)):
            raise TypeError(f"the strategy returned {answer!r}; valid: a candidate, or a list of candidates")
        return self._types.Decision([self._candidate(candidate) for candidate in answer])

    def _candidate(self, candidate: object) -> Any:
        if not isinstance(candidate, Candidate):
            raise TypeError(f"the strategy returned {candidate!r} among its candidates; valid: Action.NAME(...)")
        types = self._types
        return types.Candidate(
            candidate._type.position,
            candidate.probability,
            [self.value(value) for value in candidate._values],
            [types.Reason(reason._value_, weight) for reason, weight in candidate.reasons],
            [],
        )

    def refusal(self, refusal: Refusal) -> Any:
        """A refusal for the host."""
        return self._types.Refusal(refusal.reason._value_, refusal.message)  # type: ignore[attr-defined]
