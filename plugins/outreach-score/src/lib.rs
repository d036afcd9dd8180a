//! Collections outreach by stage and risk. What protects the borrower comes first, as in
//! `outreach-rules`; the score of `default-risk` then moves the stage up or down.

serin_guest::plugin!();

/// The average probability of a bad loan in the data that the model learned from.
const AVERAGE: f64 = 0.05;

/// The first rule that applies decides.
#[serin_guest::strategy]
pub fn decide(input: &Input) -> Result<Decision, Refusal> {
    if input.features.days_past_due < 0 {
        return Err(Reason::InvalidContext.refuse("days_past_due is negative"));
    }
    protection(input).unwrap_or_else(|| by_risk(input)).into()
}

/// Why this borrower is not to be pressed now, if so.
fn protection(input: &Input) -> Option<Candidate> {
    let f = &input.features;
    if f.hardship_flag {
        let months = if f.promises_broken >= 2 { 6 } else { 3 };
        return Some(Action::HardshipOffer { months }.because(Reason::Hardship, 1.0));
    }
    let reason = if f.stage.as_deref() == Some("dispute") {
        Reason::Disputed
    } else if f.days_past_due == 0 || f.balance_due.is_some_and(|due| due <= 0.0) {
        Reason::NothingDue
    } else if f.contacts_7d >= input.parameters.contact_cap {
        Reason::ContactCap
    } else if f.last_contact_days.is_some_and(|days| days < 1.0) {
        Reason::RecentContact
    } else {
        return None;
    };
    Some(Action::NoContact.because(reason, 1.0))
}

/// From 0 for no risk over 0.5 for the average towards 1. The probabilities themselves are
/// small numbers, for which nobody could name a threshold.
fn relative_risk(probability: f64) -> f64 {
    probability / (probability + AVERAGE)
}

fn by_risk(input: &Input) -> Candidate {
    let (f, threshold) = (&input.features, input.parameters.threshold);
    let risk = relative_risk(input.scores.default_risk);
    let (high, low) = (risk > threshold, risk < threshold / 2.0);
    let stage = match f.days_past_due {
        ..15 => Reason::EarlyStage,
        15..30 => Reason::MidStage,
        30.. => Reason::LateStage,
    };
    match stage {
        Reason::EarlyStage if low && f.days_past_due < 7 => {
            Action::NoContact.because(Reason::LowRisk, 1.0 - risk).because(stage, 0.3)
        }
        Reason::EarlyStage if high && f.days_past_due >= 7 => {
            Action::Call.because(Reason::HighRisk, risk).because(stage, 0.3)
        }
        Reason::EarlyStage => write(f, "gentle").because(stage, 0.7),
        Reason::MidStage if high => Action::Call.because(Reason::HighRisk, risk).because(stage, 0.6),
        Reason::MidStage => write(f, "firm").because(stage, 0.8),
        _ if low => write(f, "firm").because(Reason::LowRisk, 1.0 - risk).because(stage, 0.6),
        _ => Action::Call.because(stage, 0.9),
    }
}

/// A text by the channel that the request prefers; an SMS where it names none.
fn write(f: &Features, template: &str) -> Candidate {
    let template = template.to_owned();
    match f.channel.as_deref() {
        Some("email") => Action::Email { template }.into(),
        _ => Action::SmsReminder { template }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(days: i64, probability: f64) -> Decision {
        let input = Input::example(|i| {
            i.features.days_past_due = days;
            i.scores.default_risk = probability;
        });
        decide(&input).expect("not a refusal")
    }

    #[test]
    fn risk_brings_the_call_forward_and_safety_puts_it_off() {
        assert_eq!(decided(10, 0.2).action(), &Action::Call);
        assert_eq!(decided(10, 0.03).action(), &Action::SmsReminder { template: "gentle".into() });
        assert_eq!(decided(3, 0.01).action(), &Action::NoContact);
        assert_eq!(decided(40, 0.01).action(), &Action::SmsReminder { template: "firm".into() });
        assert_eq!(decided(40, 0.2).action(), &Action::Call);
    }

    #[test]
    fn the_fallback_score_is_neither_high_nor_low() {
        let input = Input::example(|i| i.features.days_past_due = 20);
        assert_eq!(decide(&input).expect("decides").reasons(), [&Reason::MidStage]);
    }

    #[test]
    fn an_arm_may_raise_the_threshold() {
        let input = |threshold| {
            Input::example(|i| {
                i.features.days_past_due = 20;
                i.scores.default_risk = 0.06;
                i.parameters.threshold = threshold;
            })
        };
        assert_eq!(decide(&input(0.5)).expect("decides").action(), &Action::Call);
        assert_ne!(decide(&input(0.6)).expect("decides").action(), &Action::Call);
    }

    #[test]
    fn every_value_crosses_the_boundary_at_its_position() {
        use serin_guest::{Value, bindings, boundary};
        let mut features = vec![Value::Missing; 21];
        for (position, value) in [
            (0, Value::Integer(20)),
            (1, Value::from("email")),
            (3, Value::Integer(2)),
            (5, Value::Integer(0)),
            (6, Value::Boolean(false)),
            (13, Value::Number(-1.0)),
        ] {
            features[position] = value;
        }
        let context = bindings::Context {
            decision_point: "collections-outreach".into(),
            time_ms: 0,
            utc_offset_minutes: 0,
            features,
            scores: vec![0.06],
            parameters: vec![Value::Integer(3), Value::Number(0.6)],
            extra: Vec::new(),
        };
        let decision = boundary::run(decide, context).expect("decides");
        assert_eq!(decision.candidates.len(), 1);
        assert_eq!((decision.candidates[0].action, decision.candidates[0].reasons[0].code), (1, 6));
        assert_eq!(decision.candidates[0].parameters, [Value::from("firm")]);
    }

    #[test]
    fn no_risk_outranks_protection() {
        let input = Input::example(|i| {
            i.features.days_past_due = 60;
            i.features.hardship_flag = true;
            i.scores.default_risk = 0.9;
        });
        assert_eq!(decide(&input).expect("decides").action(), &Action::HardshipOffer { months: 3 });
    }
}
