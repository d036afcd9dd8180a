"""Texts who is a little late, and calls who is very late."""

from plugin import Action, Candidate, Input, Reason, strategy


@strategy
def decide(input: Input) -> Candidate:
    f = input.features
    if f.contacts_7d >= input.parameters.contact_cap:
        return Action.no_contact().because(Reason.CONTACT_CAP, 1.0)
    if f.days_past_due < 30:
        return Action.sms_reminder(template="gentle").because(Reason.EARLY, 0.7)
    return Action.call().because(Reason.LATE, 0.9)
