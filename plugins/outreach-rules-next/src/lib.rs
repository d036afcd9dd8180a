//! Texts before calls.

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    let f = &input.features;
    if f.hardship_flag {
        Action::HardshipOffer { months: 3 }.because(Reason::Hardship, 1.0)
    } else if f.contacts_7d >= input.parameters.contact_cap {
        Action::NoContact.because(Reason::ContactCap, 1.0)
    } else if f.days_past_due < 45 {
        Action::SmsReminder { template: "gentle".into() }.because(Reason::BeforeCalls, 0.7)
    } else {
        Action::Call.because(Reason::LateStage, 0.9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_before_the_45th_day() {
        let on = |days| decide(&Input::example(|i| i.features.days_past_due = days)).action;
        assert_eq!(on(44), Action::SmsReminder { template: "gentle".into() });
        assert_eq!(on(45), Action::Call);
    }
}
