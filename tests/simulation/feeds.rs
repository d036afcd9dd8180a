//! Feeds by hand: when a name was heard of, and what follows for its units.

use super::model::{About, Row};

const DAY_MS: u64 = 86_400_000;

/// Signs of life of one kind.
#[derive(Default)]
struct Signs {
    /// The last one, and the usual gap by then.
    last: Option<(u64, u64)>,
    /// Long silences that ended.
    outages: Vec<(u64, u64)>,
}

impl Signs {
    fn take(&mut self, at_ms: u64, ended_ms: u64, are_outages_kept: bool) {
        let Some((last_ms, gap_ms)) = self.last else {
            self.last = Some((at_ms, 4 * DAY_MS));
            return;
        };
        if at_ms <= last_ms {
            return;
        }
        if are_outages_kept && ended_ms - last_ms.min(ended_ms) >= DAY_MS.max(3 * gap_ms) {
            self.outages.push((last_ms, ended_ms));
        }
        let shrunk = if at_ms / DAY_MS > last_ms / DAY_MS { gap_ms * 4 / 5 } else { gap_ms };
        self.last = Some((at_ms, shrunk.max(at_ms - last_ms)));
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
        for row in rows {
            match row {
                Row::Outcome { name, received_ms, about, is_known: true, .. } if name == wanted => {
                    let signs = match about {
                        About::Unit(_) => &mut of_units,
                        About::Decision(_) => &mut of_decisions,
                    };
                    signs.take(*received_ms, *received_ms, watermarks.last.is_none());
                }
                Row::Watermark { name, until_ms, received_ms } if name == wanted => {
                    watermarks.take(*until_ms, *received_ms, true);
                }
                _ => {}
            }
        }
        let heard = match (of_decisions.last, of_units.last) {
            (Some(decisions), Some(units)) if units.0 > decisions.0 => Some(units),
            (decisions, units) => decisions.or(units),
        };
        let outages = [of_decisions.outages, of_units.outages, watermarks.outages].concat();
        Self { heard, watermark: watermarks.last, outages }
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
        match (heard_ms, self.watermark) {
            (None, None) => now_ms,
            (heard, Some((until, _))) => now_ms.min(heard.unwrap_or(0).max(until + lag_ms)),
            (Some(heard), None) => {
                let gap_ms = self.heard.map_or(0, |(_, gap)| gap);
                if now_ms < heard + DAY_MS.max(3 * gap_ms) { now_ms } else { heard.min(now_ms) }
            }
        }
    }
}
