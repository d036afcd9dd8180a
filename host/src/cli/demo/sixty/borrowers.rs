//! The borrowers of the sixty days, and what becomes of them. Who they are is real (a public
//! sample of loans, drawn from with replacement); what they do follows from a seed, and from
//! which version decided about them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::Failure;
use super::super::data::Seeded;

pub(super) const DAY_MS: u64 = 86_400_000;
/// Borrowers in all, and the days over which they come.
pub(super) const BORROWERS: u64 = 40_000;
pub(super) const ENTRY_DAYS: u64 = 40;
/// Decisions about each, a day apart.
pub(super) const DECISIONS: u64 = 4;
/// The share of borrowers whose employment length is not known.
const NO_TENURE: f64 = 0.02;
/// Of the payments that arrive, those that bounce afterwards.
const BOUNCES: f64 = 0.03;
/// A payment is posted so long after it was made.
const POSTED_DAYS: u64 = 2;

/// What is true of a version.
#[derive(Clone, Copy)]
struct Truth {
    cured: f64,
    /// The day, of fourteen, by which half of the cures have come.
    half_by: f64,
    complains: f64,
}

fn truth(arm: &str) -> Truth {
    let control = Truth { cured: 0.31, half_by: 5.0, complains: 0.02 };
    match arm {
        // Later, too: who counts those who may still pay as not cured takes it for worse.
        "better" => Truth { cured: 0.34, half_by: 9.0, ..control },
        "pushy" => Truth { cured: 0.35, complains: 0.035, ..control },
        _ => control,
    }
}

/// What is known so far of those who entered an arm, as somebody with a spreadsheet would count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) entered: u64,
    /// Cured and posted so far.
    pub(super) cured: u64,
    /// Of those who entered more than sixteen days ago.
    pub(super) mature: u64,
    /// Of them, the cured.
    pub(super) mature_cured: u64,
}

/// A borrower in an experiment.
struct Entry {
    key: (String, String),
    day: u64,
    cured: bool,
}

/// The borrowers.
pub(super) struct World {
    random: Seeded,
    entries: BTreeMap<u64, Entry>,
    /// What is to be posted, by day.
    posts: Vec<Vec<Value>>,
    /// Borrowers whose cure is posted on a day; taken back where false.
    cures: Vec<Vec<(u64, bool)>>,
}

impl World {
    pub(super) fn new(seed: u64, days: u64) -> Self {
        let days = days as usize + 60;
        let empty = BTreeMap::new();
        Self { random: Seeded::new(seed), entries: empty, posts: vec![Vec::new(); days], cures: vec![Vec::new(); days] }
    }

    /// Feature rows of all borrowers, from the sample's.
    pub(super) fn profiles(&self, csv: &[u8]) -> Result<Vec<Value>, Failure> {
        let mut reader = csv::Reader::from_reader(csv);
        let failed = |e: csv::Error| Failure(format!("borrowers.csv: {e}"));
        let names = reader.headers().map_err(failed)?.clone();
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for row in reader.records() {
            let row = row.map_err(failed)?;
            let mut values = serde_json::Map::new();
            for (name, text) in names.iter().zip(&row).skip(2).filter(|(_, text)| !text.is_empty()) {
                let value = text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number));
                values.insert(name.to_owned(), value);
            }
            if values.contains_key("employment_years") { with.push(values) } else { without.push(values) }
        }
        let row = |n: u64| {
            let from = if self.random.unit() < NO_TENURE { &without } else { &with };
            let values = &from[self.random.below(from.len() as u64) as usize];
            json!({ "entity": format!("b-{n}"), "event_time": "2026-11-01T00:00:00Z", "values": values })
        };
        Ok((0..BORROWERS).map(row).collect())
    }

    /// Whom the lender decides about on a day: those who came on it, and on the days before.
    pub(super) fn due(&self, day: u64) -> Vec<u64> {
        let a_day = BORROWERS / ENTRY_DAYS;
        let came = (day.saturating_sub(DECISIONS - 1)..=day).filter(|came| *came < ENTRY_DAYS);
        came.flat_map(|came| came * a_day..(came + 1) * a_day).collect()
    }

    /// A request about a borrower. How late he is follows from his number, and from the day.
    pub(super) fn request(n: u64, day: u64) -> Value {
        let began = n / (BORROWERS / ENTRY_DAYS);
        let days = 1 + (n * 7919) % 45 + (day - began);
        let channel = if n % 5 < 2 { "email" } else { "sms" };
        json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": format!("b-{n}"), "loan": format!("l-{n}") },
            "context": { "days_past_due": days, "channel": channel },
        })
    }

    /// Notes who decided. What becomes of a borrower follows from the first decision inside an
    /// experiment.
    pub(super) fn decided(&mut self, n: u64, decision: &Value, now_ms: u64, day: u64) {
        let (Some(experiment), Some(arm)) =
            (decision["experiment"]["id"].as_str(), decision["experiment"]["arm"].as_str())
        else {
            return;
        };
        if self.entries.contains_key(&n) {
            return;
        }
        let truth = truth(arm);
        // Enough to be what is left when some have bounced.
        if self.random.unit() < truth.cured / (1.0 - BOUNCES) {
            let early = self.random.unit() < 0.5;
            let span = if early { truth.half_by } else { 13.9 - truth.half_by };
            let after = self.random.unit() * span + if early { 0.0 } else { truth.half_by };
            let at = now_ms + (after * DAY_MS as f64) as u64;
            let posted =
                self.post(at, day, now_ms, POSTED_DAYS, json!({ "id": format!("cured-{n}"), "name": "cured" }), n);
            self.cures[posted].push((n, true));
            if self.random.unit() < BOUNCES {
                self.posts[posted + 3].push(json!({ "id": format!("bounced-{n}"), "reverses": format!("cured-{n}") }));
                self.cures[posted + 3].push((n, false));
            }
        }
        if self.random.unit() < truth.complains {
            let at = now_ms + (self.random.unit() * 6.0 * DAY_MS as f64) as u64;
            self.post(at, day, now_ms, 1, json!({ "id": format!("complaint-{n}"), "name": "complaint" }), n);
        }
        let key = (experiment.to_owned(), arm.to_owned());
        self.entries.insert(n, Entry { key, day, cured: false });
    }

    /// Puts an outcome on the list of the day on which it is posted; that day.
    fn post(&mut self, at_ms: u64, day: u64, now_ms: u64, late: u64, mut outcome: Value, n: u64) -> usize {
        outcome["value"] = json!(1.0);
        outcome["entity"] = json!({ "borrower": format!("b-{n}") });
        outcome["at"] =
            json!(jiff::Timestamp::from_millisecond(at_ms as i64).map(|t| t.to_string()).unwrap_or_default());
        // The list of a day is posted in its evening, after what happened on it.
        let posted = (day + (at_ms - now_ms) / DAY_MS + late) as usize;
        self.posts[posted].push(outcome);
        posted
    }

    /// What is posted on a day.
    pub(super) fn posts(&mut self, day: u64) -> Vec<Value> {
        for (n, is_cured) in std::mem::take(&mut self.cures[day as usize]) {
            if let Some(entry) = self.entries.get_mut(&n) {
                entry.cured = is_cured;
            }
        }
        std::mem::take(&mut self.posts[day as usize])
    }

    /// What somebody would count by hand.
    pub(super) fn counted(&self, experiment: &str, arm: &str, day: u64) -> Count {
        let mut count = Count::default();
        for entry in self.entries.values().filter(|entry| entry.key.0 == experiment && entry.key.1 == arm) {
            let (cured, mature) = (u64::from(entry.cured), u64::from(entry.day + 17 <= day));
            count.entered += 1;
            count.cured += cured;
            count.mature += mature;
            count.mature_cured += cured * mature;
        }
        count
    }
}
