"""Plain unit tests, without Wasm."""

from plugin import Action, Features, Input, Reason
from strategy import decide


def test_who_was_contacted_often_is_left_alone() -> None:
    decided = decide(Input.example(Features(contacts_7d=3)))
    assert decided == Action.no_contact().because(Reason.CONTACT_CAP, 1.0)
