"""Unit tests, without Wasm: ``python -m serin_guest generate . && python -m pytest``."""

import pytest
from plugin import Action, Features, Input, Parameters, Reason, Refusal
from strategy import decide


@pytest.mark.parametrize(("days", "months"), [(1, 3), (29, 3), (30, 6), (60, 9)])
def test_the_later_the_longer_the_offer(days: int, months: int) -> None:
    decision = decide(Input.example(Features(days_past_due=days, hardship_flag=True)))
    assert decision == Action.hardship_offer(months=months).because(Reason.HARDSHIP, 1.0)


def test_broken_promises_are_a_sign_of_hardship() -> None:
    decision = decide(Input.example(Features(days_past_due=20, promises_broken=3)))
    assert decision.reasons == ((Reason.SIGNS_OF_HARDSHIP, 0.875),)
    patient = Parameters(promises=4)
    decision = decide(Input.example(Features(days_past_due=20, promises_broken=3), parameters=patient))
    assert decision.action == "sms_reminder"


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (Features(days_past_due=50, stage="dispute", hardship_flag=True), Reason.DISPUTED),
        (Features(days_past_due=0), Reason.NOTHING_DUE),
        (Features(days_past_due=50, balance_due=0.0, promises_broken=5), Reason.NOTHING_DUE),
        (Features(days_past_due=50, contacts_7d=2), Reason.CONTACT_CAP),
        (Features(days_past_due=50, last_contact_days=1.5), Reason.RECENT_CONTACT),
    ],
)
def test_who_is_left_alone(features: Features, reason: Reason) -> None:
    assert decide(Input.example(features)) == Action.no_contact().because(reason, 1.0)


def test_stages_begin_on_their_day() -> None:
    for days, reason in [(14, Reason.EARLY_STAGE), (15, Reason.MID_STAGE), (45, Reason.LATE_STAGE)]:
        assert decide(Input.example(Features(days_past_due=days))).reasons[0][0] == reason


def test_a_negative_number_of_days_is_declined() -> None:
    with pytest.raises(Refusal) as refusal:
        decide(Input.example(Features(days_past_due=-1)))
    assert refusal.value.reason == Reason.INVALID_CONTEXT
