//! The synthetic part of the demo: how loans are serviced. No public history of servicing is
//! known, so it is made from a seed; the borrowers themselves are real.

use serde_json::{Value, json};

use crate::clock::{Clock as _, SimulatedClock};

/// Loans and borrowers, one of each: `b-1` has `l-1`.
pub(super) const BORROWERS: u64 = 2_000;

/// Seeded random numbers.
pub(super) struct Seeded(SimulatedClock);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(SimulatedClock::new(0, seed))
    }

    /// A number in `[0, 1)`.
    pub(super) fn unit(&self) -> f64 {
        (self.0.entropy() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `n`.
    pub(super) fn below(&self, n: u64) -> u64 {
        (self.unit() * n as f64) as u64
    }

    fn happens(&self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// A loan's servicing features, as they are pushed over HTTP.
pub(super) fn servicing_rows(seed: u64, event_time: &str) -> Vec<Value> {
    let random = Seeded::new(seed);
    (1..=BORROWERS)
        .map(|n| {
            let contacts = random.below(5) * u64::from(random.happens(0.5));
            let mut values = json!({
                "contacts_7d": contacts,
                "promises_broken": random.below(4) * u64::from(random.happens(0.3)),
                "hardship_flag": random.happens(0.04),
                // Squared: many small balances, few large ones.
                "balance_due": (40.0 + 900.0 * random.unit().powi(2)).round(),
                "cease_contact": random.happens(0.015),
            });
            // Who was never contacted has no last contact: the value is missing, not zero.
            if contacts > 0 {
                values["last_contact_days"] = json!((random.unit() * 70.0).round() / 10.0);
            }
            json!({ "entity": format!("l-{n}"), "event_time": event_time, "values": values })
        })
        .collect()
}

/// A request about a borrower who is some days late.
pub(super) fn request(random: &Seeded) -> Value {
    let n = 1 + random.below(BORROWERS);
    // Squared: most are a few days late, few are very late.
    let days = 1 + (60.0 * random.unit().powi(2)) as u64;
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": format!("b-{n}"), "loan": format!("l-{n}") },
        "context": { "days_past_due": days, "channel": if random.happens(0.4) { "email" } else { "sms" } },
    })
}
