//! Texts who is a little late, and calls who is very late.

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    let f = &input.features;
    if f.contacts_7d >= input.parameters.contact_cap {
        Action::NoContact.because(Reason::ContactCap, 1.0)
    } else if f.days_past_due < 30 {
        Action::SmsReminder { template: "gentle".into() }.because(Reason::Early, 0.7)
    } else {
        Action::Call.because(Reason::Late, 0.9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_contacted_often_is_left_alone() {
        let input = Input::example(|input| input.features.contacts_7d = 3);
        assert_eq!(decide(&input).action, Action::NoContact);
    }
}
