"""Values across the boundary, with types as componentize-py generates them."""

from dataclasses import make_dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from serin_guest.boundary import Boundary


@pytest.fixture
def types() -> Any:
    """What componentize-py makes of the WIT, as far as the SDK uses it."""
    records = {
        "Reason": ["code", "weight"],
        "Candidate": ["action", "probability", "parameters", "reasons", "extra"],
        "Decision": ["candidates"],
        "Refusal": ["code", "message"],
    }
    return SimpleNamespace(**{name: make_dataclass(name, fields) for name, fields in records.items()})


@pytest.fixture
def boundary(types: Any, plugin: ModuleType) -> Boundary:
    return Boundary(types, plugin.read_context)


def test_the_hosts_values_arrive_plain(boundary: Boundary, types: Any, plugin: ModuleType) -> None:
    features = [types.Value_Integer(20), types.Value_Missing(), types.Value_Text("email")]
    assert features == [20, None, "email"]
    assert types.Value_Boolean(True) is True
    parameters = [types.Value_Integer(1), types.Value_Number(0.5)]
    read = types.Context("x", 1, 0, features, [0.5], parameters, [])
    assert read == plugin.Input.example(
        plugin.Features(days_past_due=20, channel="email"),
        scores=plugin.Scores(default_risk=0.5),
        parameters=plugin.Parameters(cap=1, share=0.5),
        decision_point="x",
        time_ms=1,
    )


@pytest.mark.parametrize(
    ("plain", "case"), [(None, "Missing"), (True, "Boolean"), (3, "Integer"), (3.0, "Number"), ("a", "Text")]
)
def test_values_leave_as_the_case_of_their_type(boundary: Boundary, types: Any, plain: Any, case: str) -> None:
    lowered = boundary.value(plain)
    assert type(lowered) is getattr(types, f"Value_{case}")
    assert lowered.value is plain


def test_an_answer_leaves_by_position(boundary: Boundary, types: Any, plugin: ModuleType) -> None:
    offer = plugin.Action.offer(months=3, rate=2, class_="a", is_final=True)
    none = plugin.Action.no_contact().because(plugin.Reason.EARLY_STAGE, 0.5)
    decision = boundary.decision([offer.with_probability(0.75), none.with_probability(0.25)])
    first, second = decision.candidates
    assert (first.action, first.probability, first.reasons, first.extra) == (1, 0.75, [], [])
    assert [value.value for value in first.parameters] == [3, 2.0, "a", True]
    assert (second.action, second.reasons) == (0, [types.Reason(1, 0.5)])
    assert boundary.decision(none).candidates == [types.Candidate(0, 1.0, [], [types.Reason(1, 0.5)], [])]
    assert boundary.refusal(plugin.Refusal(plugin.Reason.HARDSHIP, "x")) == types.Refusal(0, "x")


@pytest.mark.parametrize("wrong", [None, "offer", ["offer"]])
def test_what_is_no_candidate_is_an_error(boundary: Boundary, wrong: object) -> None:
    with pytest.raises(TypeError, match="the strategy returned"):
        boundary.decision(wrong)
