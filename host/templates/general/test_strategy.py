"""Plain unit tests, without Wasm."""

from plugin import Action, Features, Input, Reason
from strategy import decide


def test_the_threshold_is_reached() -> None:
    decided = decide(Input.example(Features(value=100.0)))
    assert decided == Action.SECOND_FUNCTION().because(Reason.REACHED, 1.0)
