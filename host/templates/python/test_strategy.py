"""Plain unit tests, without Wasm."""

from plugin import Action, Features, Input, Reason
from strategy import decide


def test_who_was_contacted_often_is_left_alone() -> None:
    decided = decide(Input.example(Features(contacts_7d=3)))
    assert decided == Action.no_contact().because(Reason.CONTACT_CAP, 1.0)


# A strategy that calls a model (`callable = true` in plugin.toml) is told here what the model answers:
#
#     from plugin import ScoreError
#     from serin_guest import testing
#
#     def test_the_lowest_risk_wins() -> None:
#         with testing.models({"default-risk": [0.4, 0.1]}) as calls:
#             decided = decide(Input.example())
#         assert [candidate.action for candidate in decided] == ["sms_reminder"]
#         assert calls == [("default-risk", [[0.0], [1.0]])]
#
# A function in place of the scores gets the model's name and the rows, and may raise a ScoreError.
