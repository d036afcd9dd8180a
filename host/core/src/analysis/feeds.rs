//! Feeds: the senders of an outcome's name. An outcome that was not posted did not happen only if its
//! feed was heard of later: units mature up to its last sign of life. A feed that falls silent for
//! longer than usual is a fault, which holds promotion and shipping.

use crate::experiment::{Experiment, Metric, Role, Watched};

/// A feed is never taken for silent sooner than this after it was last heard of.
const SHORTEST_SILENCE_MS: u64 = 86_400_000;
/// Usual gaps without a word after which a feed is silent.
const SILENT_GAPS: u64 = 3;
/// A feed that comes back has as long to post what it owes, or the metric's lag if that is longer.
const CATCH_UP_MS: u64 = 86_400_000;

/// The state of the feed of an outcome's name, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The outcome's name.
    pub name: Box<str>,
    /// When the newest outcome of this name was received, in milliseconds since the Unix epoch;
    /// none if there is none.
    pub heard_ms: Option<u64>,
    /// The newest watermark: all outcomes of this name up to this time have been posted, in
    /// milliseconds since the Unix epoch. None if none was ever given.
    pub watermark_ms: Option<u64>,
    /// The usual time between two signs of life, in milliseconds: between watermarks if there are
    /// any, else between outcomes.
    pub usual_gap_ms: u64,
    /// The silences that have ended.
    pub outages: Vec<Outage>,
}

/// A silence of a feed that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last sign of life before it, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// The first one after it.
    pub to_ms: u64,
}

/// Whether a feed can be believed when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedState {
    /// It was heard of no longer ago than usual, or since the last unit became mature.
    Alive,
    /// It has not been heard of for much longer than usual, and units wait for it.
    Silent,
    /// No outcome of this name was ever posted, and no watermark was given.
    NeverHeard,
    /// Its metrics expect no outcome, and no watermark was given.
    NotNeeded,
}

impl FeedState {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Silent => "silent",
            Self::NeverHeard => "never_heard",
            Self::NotNeeded => "not_needed",
        }
    }
}

/// A feed at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedResult {
    /// The feed.
    pub feed: Feed,
    /// Its state.
    pub state: FeedState,
    /// When it is silent unless it is heard of before, or since when it is; none if that never
    /// happens. In milliseconds since the Unix epoch.
    pub silent_from_ms: Option<u64>,
    /// A goal or a guardrail is computed from it.
    pub decides: bool,
}

impl Feed {
    /// The last sign of life.
    fn last_ms(&self) -> Option<u64> {
        self.heard_ms.max(self.watermark_ms)
    }

    /// The feed as it was at `at_ms`, when it had last been heard of at `heard_ms`. Only the newest watermark is known. One
    /// of a later time was given later, together with outcomes that do not count, so it promises nothing of the time
    /// before; and no outage that ended later was over.
    pub fn as_of(mut self, at_ms: u64, heard_ms: Option<u64>) -> Self {
        self.outages.retain(|outage| outage.to_ms <= at_ms);
        let watermark_ms = match self.watermark_ms {
            // An earlier watermark may have been given before `at_ms`, but only the newest is stored.
            Some(until_ms) if until_ms > at_ms => heard_ms.map(|_| 0),
            known => known,
        };
        Self { heard_ms, watermark_ms, ..self }
    }

    /// Up to when units can mature if the feed's silence means nothing.
    fn known_until(&self, lag_ms: u64) -> u64 {
        let promised = self.watermark_ms.map(|watermark| watermark.saturating_add(lag_ms));
        self.heard_ms.max(promised).unwrap_or(u64::MAX)
    }
}

/// A feed, and what the spec makes of it.
struct Measured {
    feed: Feed,
    /// When it is silent, unless it is heard of before.
    silent_from_ms: u64,
    /// How long it has to catch up after an outage.
    catch_up_ms: u64,
    /// Of each metric that needs it: the lag, and the time from a unit's entry to its maturity.
    needed_by: Vec<(u64, u64)>,
    decides: bool,
}

impl Measured {
    /// The outages, and until when they put off units that would have become mature meanwhile: the feed
    /// has caught up by then.
    fn put_off(&self) -> impl Iterator<Item = (Outage, u64)> {
        self.feed.outages.iter().map(|outage| (*outage, outage.to_ms.saturating_add(self.catch_up_ms)))
    }

    /// Whether a unit that entered then becomes mature later than what is known of the feed.
    fn leaves_open(&self, entry_ms: u64) -> bool {
        let is_open =
            |(lag_ms, mature_ms): &(u64, u64)| entry_ms.saturating_add(*mature_ms) > self.feed.known_until(*lag_ms);
        self.needed_by.iter().any(is_open)
    }
}

/// The feeds of an experiment's outcomes.
#[derive(Default)]
pub(super) struct Feeds {
    measured: Vec<Measured>,
    /// By metric: the outages of its feeds, each with the time until which it puts units off.
    put_off: Vec<Vec<(Outage, u64)>>,
}

impl Feeds {
    /// Those of the spec's outcomes.
    pub fn of(spec: &Experiment, feeds: Vec<Feed>) -> Self {
        let measured = |mut feed: Feed| {
            let of_name = spec.metrics.iter().filter(|metric| metric.measures(&feed.name));
            let lag_ms = of_name.map(|metric| metric.lag_ms).max().unwrap_or(0);
            // No silence within the lag is an outage.
            feed.outages.retain(|outage| outage.to_ms.saturating_sub(outage.from_ms) >= lag_ms);
            let metrics = || {
                let all = spec.metrics.iter().enumerate();
                all.filter(|(_, metric)| metric.measures(&feed.name))
            };
            let silence_ms = SHORTEST_SILENCE_MS.max(lag_ms).max(SILENT_GAPS.saturating_mul(feed.usual_gap_ms));
            let is_watched = |at: usize| spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(at));
            Measured {
                catch_up_ms: CATCH_UP_MS.max(lag_ms),
                silent_from_ms: feed.last_ms().map_or(u64::MAX, |last| last.saturating_add(silence_ms)),
                needed_by: metrics()
                    .filter(|(_, metric)| is_needed(metric, &feed))
                    .map(|(_, metric)| (metric.lag_ms, metric.mature_ms(0)))
                    .collect(),
                decides: metrics().any(|(at, metric)| metric.role == Role::Goal || is_watched(at)),
                feed,
            }
        };
        let mut all = Self { measured: feeds.into_iter().map(measured).collect(), put_off: Vec::new() };
        let put_off = |metric| all.needed_by(metric).flat_map(Measured::put_off).collect();
        all.put_off = spec.metrics.iter().map(put_off).collect();
        all
    }

    /// Whether the same feeds are in the same state.
    pub fn is_same(&self, other: &Self) -> bool {
        self.feeds().eq(other.feeds())
    }

    /// Whether the same feeds had the same outages.
    pub fn has_same_outages(&self, other: &Self) -> bool {
        self.feeds().map(|feed| (&feed.name, &feed.outages)).eq(other.feeds().map(|feed| (&feed.name, &feed.outages)))
    }

    fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.measured.iter().map(|measured| &measured.feed)
    }

    /// When a unit becomes mature in the metric at a position, if it does so at `mature_ms` while its
    /// feeds are alive.
    pub fn mature_ms(&self, metric: usize, mature_ms: u64) -> u64 {
        // Most feeds never had an outage.
        self.put_off.get(metric).map_or(mature_ms, |all| after_outages(all.iter().copied(), mature_ms))
    }

    /// When an outcome of this name is too late for a unit, if it is so at `mature_ms` while its feed is
    /// alive.
    pub fn cut_off_ms(&self, name: &str, mature_ms: u64) -> u64 {
        let of_name = self.measured.iter().find(|of| *of.feed.name == *name);
        of_name.map_or(mature_ms, |of| after_outages(of.put_off(), mature_ms))
    }

    fn needed_by<'f>(&'f self, metric: &'f Metric) -> impl Iterator<Item = &'f Measured> {
        self.measured.iter().filter(|of| metric.measures(&of.feed.name) && is_needed(metric, &of.feed))
    }

    /// A metric's horizon at `now_ms`: the units mature at it or before are mature in the metric, for
    /// every feed that it needs has been heard of since.
    pub fn horizon(&self, metric: &Metric, now_ms: u64) -> u64 {
        self.until(metric).min(now_ms)
    }

    /// As [`Feeds::horizon`], while time passes and nothing more is heard.
    pub fn until(&self, metric: &Metric) -> u64 {
        let until = |of: &Measured| of.feed.known_until(metric.lag_ms);
        self.needed_by(metric).map(until).min().unwrap_or(u64::MAX)
    }

    /// When the next feed falls silent, after `now_ms`.
    pub fn next_silence(&self, now_ms: u64) -> u64 {
        self.measured.iter().map(|of| of.silent_from_ms).filter(|at| *at > now_ms).min().unwrap_or(u64::MAX)
    }

    /// The feeds at `now_ms`, while the newest unit entered at `entry_ms`.
    pub fn at(&self, now_ms: u64, entry_ms: Option<u64>) -> Vec<FeedResult> {
        let result = |of: &Measured| {
            let is_over = entry_ms.is_some_and(|entry_ms| !of.leaves_open(entry_ms));
            let state = match of.feed.last_ms() {
                _ if of.needed_by.is_empty() => FeedState::NotNeeded,
                None => FeedState::NeverHeard,
                Some(_) if now_ms >= of.silent_from_ms && !is_over => FeedState::Silent,
                Some(_) => FeedState::Alive,
            };
            let falls_silent = matches!(state, FeedState::Alive | FeedState::Silent);
            let silent_from_ms = falls_silent.then_some(of.silent_from_ms);
            FeedResult { feed: of.feed.clone(), state, silent_from_ms, decides: of.decides }
        };
        self.measured.iter().map(result).collect()
    }
}

/// When a unit becomes mature that would do so at `mature_ms` without these outages.
fn after_outages(outages: impl Iterator<Item = (Outage, u64)>, mature_ms: u64) -> u64 {
    let missed = outages.filter(|(outage, _)| outage.from_ms < mature_ms && mature_ms <= outage.to_ms);
    missed.map(|(_, until_ms)| until_ms).max().unwrap_or(mature_ms)
}

/// Whether units wait for a feed to become mature in a metric.
fn is_needed(metric: &Metric, feed: &Feed) -> bool {
    !metric.expects_none || feed.watermark_ms.is_some()
}

impl FeedResult {
    /// Whether it has fallen silent.
    pub fn is_silent(&self) -> bool {
        self.state == FeedState::Silent
    }

    /// What is wrong with a silent feed, in a sentence.
    pub fn describe(&self) -> String {
        let Feed { name, heard_ms, watermark_ms, usual_gap_ms, .. } = &self.feed;
        let heard = heard_ms.map_or_else(String::new, |at| format!(" was last posted at {}", time(at)));
        let watermark = watermark_ms.map_or_else(String::new, |at| format!(" has its last watermark at {}", time(at)));
        let and = if heard_ms.is_some() && watermark_ms.is_some() { " and" } else { "" };
        format!(
            "the feed of '{name}' is silent: it{heard}{and}{watermark}; usual are {} between two signs of life",
            span(*usual_gap_ms)
        )
    }
}

/// A time span, to the minute: `1 day 12 h`.
fn span(ms: u64) -> String {
    let minutes = ms.div_ceil(60_000);
    let text = humantime::format_duration(core::time::Duration::from_secs(minutes * 60)).to_string();
    let mut spaced = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii_alphabetic() && spaced.ends_with(|before: char| before.is_ascii_digit()) {
            spaced.push(' ');
        }
        spaced.push(c);
    }
    spaced
}

/// A time in UTC, to the second.
fn time(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // The civil calendar from days since 1970 (Hinnant): years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(ms), expected);
        }
    }
}
