"""What a strategy works with: candidates, refusals, models, the log, and their doubles."""

import math
from types import ModuleType

import pytest
from serin_guest import LimitReached, Refusal, Unavailable, boundary, log, testing


def test_candidates_do_not_change(plugin: ModuleType) -> None:
    plain = plugin.Action.no_contact()
    why = plain.because(plugin.Reason.HARDSHIP, 1).because(plugin.Reason.EARLY_STAGE, 0.5).with_probability(0.25)
    assert (plain.probability, plain.reasons) == (1.0, ())
    assert (why.probability, why.reasons) == (0.25, ((plugin.Reason.HARDSHIP, 1.0), (plugin.Reason.EARLY_STAGE, 0.5)))
    assert why != plain
    assert isinstance(why, plugin.Candidate)


def test_weights_become_probabilities_that_sum_to_1(plugin: ModuleType) -> None:
    none, offer = plugin.Action.no_contact(), plugin.Action.offer(months=3, rate=2, class_="a", is_final=True)
    made = plugin.normalized([(3, none), (1, offer.because(plugin.Reason.HARDSHIP, 1))])
    assert [candidate.probability for candidate in made] == [0.75, 0.25]
    assert made[1].reasons == ((plugin.Reason.HARDSHIP, 1.0),)
    assert (none.probability, offer.probability) == (1.0, 1.0)
    for weights in ([], [(0.0, none)], [(-1.0, none), (2.0, offer)], [(math.nan, none)], [(math.inf, none)]):
        with pytest.raises(ValueError, match="weights"):
            plugin.normalized(weights)


def test_an_action_has_its_parameters_in_their_types(plugin: ModuleType) -> None:
    offer = plugin.Action.offer(months=3, rate=2, class_="a", is_final=True)
    assert offer.action == "offer"
    assert offer.parameters == {"months": 3, "rate": 2.0, "class": "a", "is-final": True}
    assert type(offer.parameters["rate"]) is float
    assert repr(offer.because(plugin.Reason.HARDSHIP, 1)) == (
        "offer(months=3, rate=2.0, class='a', is-final=True).because(Reason.HARDSHIP, 1.0)"
    )


@pytest.mark.parametrize(
    "wrong", [{"months": 3.0}, {"months": True}, {"rate": "2"}, {"class_": 1}, {"is_final": 1}, {"rate": None}]
)
def test_a_parameter_of_another_type_is_an_error(plugin: ModuleType, wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"months": 3, "rate": 2.0, "class_": "a", "is_final": True}
    with pytest.raises(TypeError, match="it is declared as"):
        plugin.Action.offer(**(good | wrong))


def test_a_refusal_is_raised(plugin: ModuleType) -> None:
    with pytest.raises(Refusal, match="no balance") as refusal:
        raise plugin.Refusal(plugin.Reason.EARLY_STAGE, "no balance")
    assert refusal.value.reason is plugin.Reason.EARLY_STAGE


def test_models_answer_what_the_test_says(plugin: ModuleType) -> None:
    with testing.models({"uplift": [0.25, 0.75]}) as calls:
        assert plugin.models.uplift.score(((x, True) for x in (1.0, 2.0))) == [0.25, 0.75]
    assert calls == [("uplift", [[1.0, True], [2.0, True]])]

    def refuse(name: str, rows: testing.Rows) -> list[float]:
        raise LimitReached(name)

    with testing.models(refuse), pytest.raises(LimitReached):
        plugin.models.uplift.score([[1]])
    with testing.models({"uplift": [1.0]}), pytest.raises(AssertionError, match="1 scores for 2 rows"):
        plugin.models.uplift.score([[1], [2]])


def test_without_a_double_a_call_says_what_to_use(plugin: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"use serin_guest.testing.models"):
        plugin.models.uplift.score([[1]])


def test_lines_are_kept_while_asked_for() -> None:
    with testing.log() as outer:
        log.debug("a")
        with testing.log() as inner:
            log.info("b")
        log.warn("c")
    log.warn("to nobody")
    assert (outer, inner) == ([("debug", "a"), ("warn", "c")], [("info", "b")])


def test_strategy_leaves_the_function_as_it_was(plugin: ModuleType) -> None:
    def decide(input: object) -> object:
        return input

    assert plugin.strategy(decide) is decide
    assert boundary.registered().decide is decide
    # As earlier versions had it.
    assert plugin.strategy(log_errors=True)(decide) is decide


def test_whatever_a_strategy_returns_can_be_gone_through(plugin: ModuleType) -> None:
    one = plugin.Action.no_contact()
    assert [list(decided) for decided in (one, [one, one])] == [[one], [one, one]]


def test_the_errors_of_models_are_the_plugins_too(plugin: ModuleType) -> None:
    def down(name: str, rows: testing.Rows) -> list[float]:
        raise Unavailable(name)

    with testing.models(down), pytest.raises(plugin.ScoreError):
        plugin.models.uplift.score([[1]])


def test_a_plugin_has_one_strategy(plugin: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="put @strategy on the function that decides"):
        boundary.registered()
    plugin.strategy(test_lines_are_kept_while_asked_for)
    plugin.strategy(test_candidates_do_not_change)
    with pytest.raises(RuntimeError, match="is on several functions"):
        boundary.registered()
