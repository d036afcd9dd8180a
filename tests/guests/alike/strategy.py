"""The same as strategy.rs and strategy.js."""

from plugin import Action, Candidate, Decision, Input, Reason, Refusal, log, models, strategy
from serin_guest import ScoreError


@strategy
def decide(input: Input) -> Decision:
    f, p = input.features, input.parameters
    if f.days < 0:
        raise Refusal(Reason.INVALID, f"days is {f.days}")
    minutes = input.time_ms // 60_000 + input.utc_offset_minutes
    if minutes // 60 % 24 < 6:
        return Action.no_contact().because(Reason.NIGHT, minutes % 60 / 60.0)
    if f.asked_for_help:
        share = p.share if f.balance is None else p.share * f.balance / (1.0 + abs(f.balance))
        months = 6 if f.contacts % 2 == 0 else 3
        return Action.offer(months=months, share=share).because(Reason.HELP, 1.0 / (1.0 + f.contacts))
    if f.contacts >= p.cap:
        return Action.no_contact().because(Reason.CAP, 1.0)
    try:
        gains, told = models.uplift.score([[f.balance, 0, False], [f.balance, f.contacts, True]]), Reason.GAIN
    except ScoreError:
        gains, told = [0.0, input.scores.risk], Reason.BLIND
    by_channel = 2.0 if f.channel == "sms" else 1.0
    text = f"{p.greeting} ({'none' if f.channel is None else f.channel})"
    weighed: list[tuple[float, Candidate]] = [
        (max(gains[0], 0.0) + 0.1, Action.no_contact()),
        ((max(gains[1], 0.0) + 0.2) * by_channel, Action.message(text=text, urgent=f.days > 30)),
    ]
    if f.days > 0:
        weighed.append((0.05 * min(f.days, 60), Action.offer(months=1, share=p.share)))
    # Added one by one: sum() makes up for what rounding loses, and the other languages do not.
    total = 0.0
    for weight, _ in weighed:
        total += weight
    best = max(weight for weight, _ in weighed)
    if p.sure:
        log.info(f"sure of one in {len(weighed)}")
        return next(action.because(told, weight) for weight, action in weighed if weight == best)
    return [
        action.because(told if weight == best else Reason.TRIED, weight).with_probability(weight / total)
        for weight, action in weighed
    ]
