"""Epsilon-greedy: the usual contact most of the time, and any acceptable one with a small
probability. The strategy draws nothing itself: it says the probabilities, and the host draws.

Who is protected is not explored on: there the answer is one action, with certainty.
"""

from plugin import Action, Candidate, Decision, Features, Input, Reason, Refusal, strategy


@strategy
def decide(input: Input) -> Decision:
    """Protection first; then the contacts that are acceptable, the usual one first."""
    if input.features.days_past_due < 0:
        raise Refusal(Reason.INVALID_CONTEXT, "days_past_due is negative")
    protected = protection(input)
    if protected:
        return protected
    usual, *others = acceptable(input.features)
    return explore(usual, others, input.parameters.epsilon)


def protection(input: Input) -> Candidate | None:
    """The answer where nothing may be tried out, if so."""
    f = input.features
    if f.hardship_flag:
        return Action.hardship_offer(months=6 if f.promises_broken >= 2 else 3).because(Reason.HARDSHIP, 1.0)
    if f.stage == "dispute":
        reason = Reason.DISPUTED
    elif f.days_past_due == 0 or (f.balance_due is not None and f.balance_due <= 0.0):
        reason = Reason.NOTHING_DUE
    elif f.contacts_7d >= input.parameters.contact_cap:
        reason = Reason.CONTACT_CAP
    else:
        return None
    return Action.no_contact().because(reason, 1.0)


def acceptable(f: Features) -> list[Candidate]:
    """What may be done in this stage, the usual contact first."""
    if f.days_past_due < 15:
        actions = [*texts(f, "gentle"), Action.no_contact()]
        stage = Reason.EARLY_STAGE
    elif f.days_past_due < 30:
        actions = [*texts(f, "firm"), Action.call()]
        stage = Reason.MID_STAGE
    else:
        actions = [Action.call(), *texts(f, "firm")]
        stage = Reason.LATE_STAGE
    return [action.because(stage, 0.7) for action in actions]


def texts(f: Features, template: str) -> list[Candidate]:
    """Both texts, the one that the request prefers first."""
    both = [Action.sms_reminder(template=template), Action.email(template=template)]
    return both[::-1] if f.channel == "email" else both


def explore(usual: Candidate, others: list[Candidate], epsilon: float) -> list[Candidate]:
    """The usual one with 1 - epsilon and its share of epsilon; each other with its share."""
    share = epsilon / (1 + len(others))
    if share == 0.0:
        return [usual]
    rare = [other.because(Reason.EXPLORATION, share).with_probability(share) for other in others]
    return [usual.with_probability(1.0 - share * len(others)), *rare]
