"""What a strategy answers, over its own actions and reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

Value = bool | int | float | str | None
"""A feature's or a parameter's value; ``None`` where nothing is known."""

R = TypeVar("R")


class Record:
    """Named values in slots; equal where all values are."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class ActionType:
    """An action of the manifest: its position, its name, its parameters' names and types."""

    __slots__ = ("name", "parameters", "position")

    def __init__(self, position: int, name: str, *parameters: tuple[str, str]) -> None:
        self.position = position
        self.name = name
        self.parameters = parameters

    def admit(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """The values in their declared types."""
        pairs = zip(self.parameters, values, strict=True)
        return tuple([self._one(name, kind, value) for (name, kind), value in pairs])

    def _one(self, name: str, kind: str, value: Value) -> Value:
        if isinstance(value, bool):
            if kind == "boolean":
                return value
        elif kind == "integer":
            if isinstance(value, int):
                return int(value)
        elif kind == "number":
            if isinstance(value, (int, float)):
                return float(value)
        elif kind == "text" and isinstance(value, str):
            return str(value)
        raise TypeError(f"{self.name}({name}={value!r}): {type(value).__name__}; it is declared as {kind}")


class Candidate(Generic[R]):
    """An action that the strategy would take, how probably, and why.

    Candidates do not change: each method gives another one.
    """

    __slots__ = ("_type", "_values", "probability", "reasons")

    probability: float
    """The probability with which the host shall draw it."""
    reasons: tuple[tuple[R, float], ...]
    """Reasons and their weights, most important first."""

    def __init__(
        self,
        action_type: ActionType,
        values: tuple[Value, ...] = (),
        probability: float = 1.0,
        reasons: tuple[tuple[R, float], ...] = (),
    ) -> None:
        self._type = action_type
        self._values = values
        self.probability = probability
        self.reasons = reasons

    @property
    def action(self) -> str:
        """The action's name in the manifest."""
        return self._type.name

    @property
    def parameters(self) -> dict[str, Value]:
        """The action's parameters."""
        return {name: value for (name, _), value in zip(self._type.parameters, self._values, strict=True)}

    def because(self, reason: R, weight: float) -> Self:
        """The same, with one more reason."""
        return type(self)(self._type, self._values, self.probability, (*self.reasons, (reason, float(weight))))

    def with_probability(self, probability: float) -> Self:
        """The same, to be drawn with this probability."""
        return type(self)(self._type, self._values, float(probability), self.reasons)

    def __iter__(self) -> Iterator[Self]:
        """Itself alone, so that a test may go through whatever a strategy returns."""
        yield self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Candidate):
            return NotImplemented
        return (
            self._type.position == other._type.position
            and self._values == other._values
            and self.probability == other.probability
            and self.reasons == other.reasons
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        because = "".join(f".because({reason}, {weight})" for reason, weight in self.reasons)
        probability = "" if self.probability == 1.0 else f".with_probability({self.probability})"
        return f"{self.action}({values}){because}{probability}"


C = TypeVar("C", bound=Candidate[Any])


def normalized(weighted: Iterable[tuple[float, C]]) -> list[C]:
    """The candidates with probabilities in proportion to their weights, which sum to 1.

    For what does not sum to 1 by itself: scores, or a softmax in 32 bits.
    """
    pairs = [(float(weight), candidate) for weight, candidate in weighted]
    if not all(0.0 <= weight < float("inf") for weight, _ in pairs):
        raise ValueError(f"weights are finite and not below 0: {[weight for weight, _ in pairs]}")
    total = sum(weight for weight, _ in pairs)
    if not 0.0 < total < float("inf"):
        raise ValueError(f"the weights sum to {total}; at least one is above 0")
    return [candidate.with_probability(weight / total) for weight, candidate in pairs]


class Refusal(Exception):
    """The strategy declines to decide. This is an answer, not a fault: the fallback serves."""

    def __init__(self, reason: object, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
