//! Ranks relief offers by the risk of default that each would leave: a row of the model's inputs
//! for each candidate, as the loan would be with it, and all rows in one call.

use serin_guest::row;

serin_guest::plugin!();

/// Months without interest that can be offered; none comes first, as what the others are held against.
const OFFERS: [i64; 4] = [0, 3, 6, 12];

/// What is offered where the model can't answer, or says that nothing helps.
const USUAL: i64 = 3;

/// The months over which relief counts.
const HORIZON: f64 = 36.0;

#[serin_guest::strategy]
fn decide(input: &Input) -> Candidate {
    let f = &input.features;
    match (f.hardship_flag, f.days_past_due) {
        (true, _) => offer(input),
        (false, ..=0) => Action::NoContact.because(Reason::NotLate, 1.0),
        (false, _) => Action::SmsReminder { template: "gentle".into() }.because(Reason::Late, 1.0),
    }
}

fn offer(input: &Input) -> Candidate {
    let rows = OFFERS.map(|months| with_offer(&input.features, months));
    let usual =
        || Action::HardshipOffer { months: USUAL }.because(Reason::UsualOffer, 1.0).because(Reason::Hardship, 0.5);
    // A model that can't answer is no reason to leave somebody without an offer.
    let Ok(risks) = models::default_risk().score(rows) else { return usual() };
    let gain = |months: i64, risk: f64| risks[0] - risk - input.parameters.cost_per_month * months as f64;
    let ranked = OFFERS.iter().zip(&risks).map(|(&months, &risk)| (months, gain(months, risk)));
    match ranked.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((months, gain)) if gain > 0.0 => {
            Action::HardshipOffer { months }.because(Reason::BestOffer, gain).because(Reason::Hardship, 0.5)
        }
        _ => usual(),
    }
}

/// The model's inputs, in its own order, as they would be with so many months without interest.
fn with_offer(f: &Features, months: i64) -> Vec<serin_guest::Value> {
    let relieved = f.interest_rate.map(|rate| rate * (1.0 - months as f64 / HORIZON));
    row![
        f.annual_income,
        f.funded_amount,
        relieved,
        f.term_months,
        f.sub_grade,
        f.employment_years,
        f.delinquencies_2y,
        f.inquiries_6m,
        f.revolving_utilization,
        f.all_utilization,
        f.open_installment_12m,
        f.inquiries_12m,
        f.installment_balance,
    ]
}

#[cfg(test)]
mod tests {
    use serin_guest::testing::with_models;
    use serin_guest::{ScoreError, Value};

    use super::*;

    fn in_hardship() -> Input {
        Input::example(|i| {
            i.features.hardship_flag = true;
            i.features.interest_rate = Some(24.0);
        })
    }

    fn offered(risks: [f64; 4]) -> Action {
        with_models(move |_, _| Ok(risks.to_vec()), || decide(&in_hardship())).action
    }

    #[test]
    fn the_offer_that_saves_most_for_its_cost_wins() {
        assert_eq!(offered([0.30, 0.29, 0.24, 0.238]), Action::HardshipOffer { months: 6 });
        assert_eq!(offered([0.30, 0.29, 0.28, 0.20]), Action::HardshipOffer { months: 12 });
    }

    #[test]
    fn without_an_answer_or_a_gain_the_usual_offer_is_made() {
        assert_eq!(offered([0.1; 4]), Action::HardshipOffer { months: 3 });
        let down = with_models(|_, _| Err(ScoreError::Unavailable), || decide(&in_hardship()));
        assert_eq!((down.action, down.reasons[0].0), (Action::HardshipOffer { months: 3 }, Reason::UsualOffer));
    }

    #[test]
    fn each_candidate_is_one_row_with_the_rate_that_it_would_leave() {
        let rates = |_: &str, rows: &[Vec<Value>]| {
            let rates: Vec<_> = rows.iter().map(|row| row[2].clone()).collect();
            assert_eq!(rates, [24.0, 22.0, 20.0, 16.0].map(Value::Number));
            Ok(vec![0.0; rows.len()])
        };
        with_models(rates, || decide(&in_hardship()));
    }
}
