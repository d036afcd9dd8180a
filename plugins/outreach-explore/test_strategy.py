"""Unit tests, without Wasm: ``python -m serin_guest generate . && python -m pytest``."""

import math

import pytest
from plugin import Action, Candidate, Features, Input, Parameters, Reason, Refusal
from strategy import decide


def decided(features: Features, epsilon: float = 0.15) -> list[Candidate]:
    answer = decide(Input.example(features, parameters=Parameters(epsilon=epsilon)))
    return [answer] if isinstance(answer, Candidate) else list(answer)


@pytest.mark.parametrize("days", [1, 14, 15, 29, 30, 90])
@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 0.15, 0.7, 1.0])
def test_probabilities_sum_to_one_and_no_action_is_there_twice(days: int, epsilon: float) -> None:
    candidates = decided(Features(days_past_due=days), epsilon)
    assert math.isclose(sum(c.probability for c in candidates), 1.0, abs_tol=1e-12)
    assert all(c.probability > 0.0 for c in candidates)
    assert len({c.action for c in candidates}) == len(candidates)


def test_the_usual_contact_is_first_and_most_probable() -> None:
    candidates = decided(Features(days_past_due=20, channel="email"))
    assert [c.action for c in candidates] == ["email", "sms_reminder", "call"]
    assert [round(c.probability, 12) for c in candidates] == [0.9, 0.05, 0.05]


def test_without_epsilon_nothing_is_explored() -> None:
    assert decided(Features(days_past_due=40), 0.0) == [Action.call().because(Reason.LATE_STAGE, 0.7)]


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (Features(days_past_due=50, hardship_flag=True), Reason.HARDSHIP),
        (Features(days_past_due=50, stage="dispute"), Reason.DISPUTED),
        (Features(days_past_due=0), Reason.NOTHING_DUE),
        (Features(days_past_due=50, contacts_7d=3), Reason.CONTACT_CAP),
    ],
)
def test_who_is_protected_is_not_explored_on(features: Features, reason: Reason) -> None:
    [candidate] = decided(features, 1.0)
    assert (candidate.probability, candidate.reasons) == (1.0, ((reason, 1.0),))


def test_a_negative_number_of_days_is_declined() -> None:
    with pytest.raises(Refusal, match="days_past_due is negative"):
        decided(Features(days_past_due=-1))
