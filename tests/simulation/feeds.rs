//! Feeds by hand: when a name was heard of, and what follows for its units.

use super::model::{About, Row};

const DAY_MS: u64 = 86_400_000;

/// The last sign of life of one kind, and the usual gap by then.
#[derive(Default)]
struct Signs(Option<(u64, u64)>);

impl Signs {
    fn take(&mut self, at_ms: u64) {
        self.0 = match self.0 {
            None => Some((at_ms, 4 * DAY_MS)),
            Some((last_ms, gap_ms)) if at_ms > last_ms => {
                let shrunk = if at_ms / DAY_MS > last_ms / DAY_MS { gap_ms * 4 / 5 } else { gap_ms };
                Some((at_ms, shrunk.max(at_ms - last_ms)))
            }
            known => known,
        };
    }
}

fn newest(of_decisions: &Signs, of_units: &Signs) -> Option<(u64, u64)> {
    match (of_decisions.0, of_units.0) {
        (Some(decisions), Some(units)) if units.0 > decisions.0 => Some(units),
        (decisions, units) => decisions.or(units),
    }
}

/// What is known of a name.
pub struct Feed {
    heard: Option<(u64, u64)>,
    watermark: Option<(u64, u64)>,
    outages: Vec<(u64, u64)>,
}

impl Feed {
    /// The feed of a name by all rows.
    pub fn of(rows: &[Row], wanted: &str) -> Self {
        let (mut of_decisions, mut of_units, mut watermarks) = (Signs::default(), Signs::default(), Signs::default());
        let mut outages = Vec::new();
        for row in rows {
            let (at_ms, received_ms, signs) = match row {
                Row::Outcome { name, received_ms, about, is_known: true, .. } if name == wanted => {
                    (*received_ms, *received_ms, usize::from(matches!(about, About::Unit(_))))
                }
                Row::Watermark { name, until_ms, received_ms } if name == wanted => (*until_ms, *received_ms, 2),
                _ => continue,
            };
            let is_newer = signs != 2 || watermarks.0.is_none_or(|(until, _)| at_ms > until);
            let heard = newest(&of_decisions, &of_units);
            let last_ms = heard.map(|(at, _)| at).max(watermarks.0.map(|(at, _)| at));
            if let (Some(last_ms), Some((_, gap_ms))) = (last_ms, watermarks.0.or(heard))
                && is_newer
                && received_ms >= last_ms + DAY_MS.max(3 * gap_ms)
            {
                outages.push((last_ms, received_ms));
            }
            [&mut of_decisions, &mut of_units, &mut watermarks][signs].take(at_ms);
        }
        Self { heard: newest(&of_decisions, &of_units), watermark: watermarks.0, outages }
    }

    /// When a unit becomes mature that would so at `mature_ms`, had its feed never been silent. No lag is
    /// as long as a day.
    pub fn mature_ms(&self, mature_ms: u64) -> u64 {
        let missed = self.outages.iter().filter(|(from, to)| *from < mature_ms && mature_ms <= *to);
        missed.map(|(_, to)| to + DAY_MS).max().unwrap_or(mature_ms)
    }

    /// Up to when units are mature now.
    pub fn horizon(&self, lag_ms: u64, now_ms: u64) -> u64 {
        let heard_ms = self.heard.map(|(at, _)| at);
        let promised_ms = self.watermark.map(|(until, _)| until + lag_ms);
        // Of a name that nobody posted nothing is waited for.
        heard_ms.max(promised_ms).unwrap_or(now_ms).min(now_ms)
    }
}
