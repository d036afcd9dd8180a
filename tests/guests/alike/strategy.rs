//! The same as strategy.py and strategy.js.

use serin_guest::{log, row};

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Result<Decision, Refusal> {
    let (f, p) = (&input.features, &input.parameters);
    if f.days < 0 {
        return Err(Reason::Invalid.refuse(format!("days is {}", f.days)));
    }
    let minutes = input.time_ms as i64 / 60_000 + i64::from(input.utc_offset_minutes);
    if minutes / 60 % 24 < 6 {
        return Ok(Action::NoContact.because(Reason::Night, (minutes % 60) as f64 / 60.0).into());
    }
    if f.asked_for_help {
        let months = if f.contacts % 2 == 0 { 6 } else { 3 };
        let share = f.balance.map_or(p.share, |balance| p.share * balance / (1.0 + balance.abs()));
        return Ok(Action::Offer { months, share }.because(Reason::Help, 1.0 / (1.0 + f.contacts as f64)).into());
    }
    if f.contacts >= p.cap {
        return Ok(Action::NoContact.because(Reason::Cap, 1.0).into());
    }
    let rows = [row![f.balance, 0, false], row![f.balance, f.contacts, true]];
    let (gains, told) = match models::uplift().score(rows) {
        Ok(gains) => (gains, Reason::Gain),
        Err(_) => (vec![0.0, input.scores.risk], Reason::Blind),
    };
    let by_channel = if f.channel.as_deref() == Some("sms") { 2.0 } else { 1.0 };
    let text = format!("{} ({})", p.greeting, f.channel.as_deref().unwrap_or("none"));
    let mut weighed = vec![
        (gains[0].max(0.0) + 0.1, Action::NoContact),
        ((gains[1].max(0.0) + 0.2) * by_channel, Action::Message { text, urgent: f.days > 30 }),
    ];
    if f.days > 0 {
        weighed.push((0.05 * f.days.min(60) as f64, Action::Offer { months: 1, share: p.share }));
    }
    let total: f64 = weighed.iter().map(|(weight, _)| weight).sum();
    let best = weighed.iter().map(|(weight, _)| *weight).fold(0.0, f64::max);
    if p.sure {
        log::info(&format!("sure of one in {}", weighed.len()));
        weighed.retain(|(weight, _)| *weight == best);
        weighed.truncate(1);
        return Ok(weighed.remove(0).1.because(told, best).into());
    }
    Ok(Decision::of(weighed.into_iter().map(|(weight, action)| {
        let reason = if weight == best { told } else { Reason::Tried };
        (weight / total, action.because(reason, weight))
    })))
}
