"""SECOND_ACTION from a threshold on, else FIRST_ACTION."""

from plugin import Action, Candidate, Input, Reason, strategy


@strategy
def decide(input: Input) -> Candidate:
    if input.features.value >= input.parameters.threshold:
        return Action.SECOND_FUNCTION().because(Reason.REACHED, 1.0)
    return Action.FIRST_FUNCTION().because(Reason.BELOW, 1.0)
