//! Rules for whether and how to reach out to a late borrower. What protects the borrower
//! comes first, so that no later rule can outvote it.

serin_guest::plugin!();

/// The first rule that applies decides.
#[serin_guest::strategy]
fn decide(input: &Input) -> Result<Decision, Refusal> {
    let f = &input.features;
    if f.days_past_due < 0 {
        return Err(Reason::InvalidContext.refuse("days_past_due is negative"));
    }
    protection(input).unwrap_or_else(|| by_stage(f)).into()
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

fn by_stage(f: &Features) -> Candidate {
    match f.days_past_due {
        ..15 => write(f, "gentle").because(Reason::EarlyStage, 0.7),
        15..30 if f.promises_broken >= 2 => {
            Action::Call.because(Reason::BrokenPromises, 0.8).because(Reason::MidStage, 0.6)
        }
        15..30 => write(f, "firm").because(Reason::MidStage, 0.8),
        30.. => Action::Call.because(Reason::LateStage, 0.9),
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

    fn decided(edit: impl FnOnce(&mut Input)) -> Decision {
        decide(&Input::example(edit)).expect("not a refusal")
    }

    #[test]
    fn an_early_borrower_gets_a_gentle_text_on_the_channel_asked_for() {
        let sms = decided(|i| i.features.days_past_due = 14);
        assert_eq!(sms.action(), &Action::SmsReminder { template: "gentle".into() });
        let email = decided(|i| {
            i.features.days_past_due = 14;
            i.features.channel = Some("email".into());
        });
        assert_eq!(email.action(), &Action::Email { template: "gentle".into() });
    }

    #[test]
    fn stages_begin_on_their_day() {
        for (days, reason) in
            [(0, Reason::NothingDue), (14, Reason::EarlyStage), (15, Reason::MidStage), (30, Reason::LateStage)]
        {
            assert_eq!(decided(|i| i.features.days_past_due = days).reasons(), [&reason], "{days} days");
        }
    }

    #[test]
    fn protection_outranks_the_stage() {
        let late = |edit: fn(&mut Features)| {
            decided(|i| {
                i.features.days_past_due = 60;
                edit(&mut i.features);
            })
        };
        assert_eq!(late(|f| f.hardship_flag = true).action(), &Action::HardshipOffer { months: 3 });
        assert_eq!(late(|f| f.contacts_7d = 3).reasons(), [&Reason::ContactCap]);
        assert_eq!(late(|f| f.last_contact_days = Some(0.5)).reasons(), [&Reason::RecentContact]);
        assert_eq!(late(|f| f.stage = Some("dispute".into())).reasons(), [&Reason::Disputed]);
        assert_eq!(late(|f| f.balance_due = Some(0.0)).reasons(), [&Reason::NothingDue]);
    }

    #[test]
    fn an_arm_may_change_the_cap() {
        let decision = decided(|i| {
            i.features.days_past_due = 10;
            i.features.contacts_7d = 1;
            i.parameters.contact_cap = 1;
        });
        assert_eq!(decision.action(), &Action::NoContact);
    }

    #[test]
    fn a_negative_number_of_days_is_declined() {
        let refusal = decide(&Input::example(|i| i.features.days_past_due = -1)).expect_err("a refusal");
        assert_eq!(refusal.reason, Reason::InvalidContext);
    }
}
