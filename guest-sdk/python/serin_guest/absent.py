"""What a strategy does not have in the sandbox, and what stands in its place. Loaded in the
component only, before the author's module.

Without this a clock would trap without a word, and `random` would give the numbers that it
happened to have when the component was built, the same ones in every decision.
"""

import random
import time
from collections.abc import Callable
from typing import Any, NoReturn

_CLOCK = "a strategy has no clock: the time of the decision is input.time_ms"
_CHANCE = (
    "a strategy draws nothing: give several candidates with probabilities, and the host draws; "
    "random.Random(seed) is yours to use"
)


class Absent(RuntimeError):
    """A strategy asked for what the sandbox does not have."""


def _refuses(why: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Absent(why)

    return refuse


for _name in ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"]:
    setattr(time, _name, _refuses(_CLOCK))
for _name, _value in list(vars(random).items()):
    # The module's functions are methods of one hidden generator.
    if getattr(_value, "__self__", None) is getattr(random, "_inst"):
        setattr(random, _name, _refuses(_CHANCE))
