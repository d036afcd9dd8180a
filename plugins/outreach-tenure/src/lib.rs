//! Who has been employed for long is texted for longer. It has a mistake on purpose.

serin_guest::plugin!();

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    let f = &input.features;
    // The mistake: every borrower that its author looked at had one.
    let years = f.employment_years.expect("an employment length");
    let text = || Action::SmsReminder { template: "gentle".into() };
    if f.contacts_7d >= 3 {
        Action::NoContact.because(Reason::ContactCap, 1.0)
    } else if f.days_past_due < 15 {
        text().because(Reason::Early, 0.7)
    } else if years >= 5.0 {
        text().because(Reason::LongEmployed, 0.6)
    } else {
        Action::Call.because(Reason::Late, 0.8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_employed_for_long_is_texted() {
        let of = |years| {
            let input = Input::example(|i| {
                i.features.days_past_due = 20;
                i.features.employment_years = Some(years);
            });
            decide(&input).action
        };
        assert_eq!(of(4.0), Action::Call);
        assert_eq!(of(5.0), Action::SmsReminder { template: "gentle".into() });
    }
}
