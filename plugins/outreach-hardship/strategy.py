"""Hardship first. What protects the borrower comes before any reminder, so that no later rule
can outvote it.
"""

from plugin import Action, Candidate, Features, Input, Reason, Refusal, strategy

# From so many days late on the offer is for longer.
MONTHS = [(60, 9), (30, 6), (0, 3)]


@strategy
def decide(input: Input) -> Candidate:
    """The first rule that applies decides."""
    f = input.features
    if f.days_past_due < 0:
        raise Refusal(Reason.INVALID_CONTEXT, "days_past_due is negative")
    return hardship(input) or rest(input) or remind(f)


def hardship(input: Input) -> Candidate | None:
    """Help, where the borrower asked for it or seems to need it."""
    f = input.features
    if f.stage == "dispute" or f.balance_due == 0.0:
        return None
    if not f.hardship_flag and f.promises_broken < input.parameters.promises:
        return None
    months = next(months for days, months in MONTHS if f.days_past_due >= days)
    offer = Action.hardship_offer(months=months)
    if f.hardship_flag:
        return offer.because(Reason.HARDSHIP, 1.0)
    # An inference, not a statement: the more promises, the surer.
    return offer.because(Reason.SIGNS_OF_HARDSHIP, 1.0 - 0.5**f.promises_broken)


def rest(input: Input) -> Candidate | None:
    """Why this borrower is not to be contacted now, if so."""
    f = input.features
    if f.stage == "dispute":
        reason = Reason.DISPUTED
    elif f.days_past_due == 0 or (f.balance_due is not None and f.balance_due <= 0.0):
        reason = Reason.NOTHING_DUE
    elif f.contacts_7d >= input.parameters.contact_cap:
        reason = Reason.CONTACT_CAP
    elif f.last_contact_days is not None and f.last_contact_days < input.parameters.rest_days:
        reason = Reason.RECENT_CONTACT
    else:
        return None
    return Action.no_contact().because(reason, 1.0)


def remind(f: Features) -> Candidate:
    """The gentlest contact that fits the stage."""
    if f.days_past_due < 15:
        return write(f, "gentle").because(Reason.EARLY_STAGE, 0.7)
    if f.days_past_due < 45:
        return write(f, "offer_help").because(Reason.MID_STAGE, 0.8)
    return Action.call().because(Reason.LATE_STAGE, 0.9)


def write(f: Features, template: str) -> Candidate:
    """A text by the channel that the request prefers; an SMS where it names none."""
    if f.channel == "email":
        return Action.email(template=template)
    return Action.sms_reminder(template=template)
