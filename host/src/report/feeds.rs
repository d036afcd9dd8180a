//! The feeds of an experiment's outcomes.

use serde::{Deserialize, Serialize};
use serin_core::analysis::FeedResult;
use serin_core::numbers::grouped;

use super::{Report, rfc3339};

/// The feed of an outcome's name.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedFeed {
    /// The outcome's name.
    pub name: String,
    /// `alive`, `silent`, `never_heard` or `not_needed`.
    pub state: String,
    /// When an outcome of this name was last received.
    pub last_heard: Option<String>,
    /// The newest watermark.
    pub watermark: Option<String>,
    /// The usual time between two signs of life, in milliseconds; none if there was none.
    pub usual_gap_ms: Option<u64>,
    /// When it is taken for silent unless it is heard of before, or since when it is.
    pub silent_from: Option<String>,
}

impl ReportedFeed {
    pub(super) fn of(found: &FeedResult) -> Self {
        let feed = &found.feed;
        let was_heard = feed.heard_ms.or(feed.watermark_ms).is_some();
        Self {
            name: feed.name.to_string(),
            state: found.state.as_str().to_owned(),
            last_heard: feed.heard_ms.map(rfc3339),
            // As of an end, the newest before it may not be known.
            watermark: feed.watermark_ms.filter(|until_ms| *until_ms > 0).map(rfc3339),
            usual_gap_ms: was_heard.then_some(feed.usual_gap_ms),
            silent_from: found.silent_from_ms.map(rfc3339),
        }
    }

    fn describe(&self) -> String {
        let state = match (self.state.as_str(), &self.silent_from) {
            ("silent", Some(from)) => format!("SILENT since {from}"),
            ("never_heard", _) => "never heard of".to_owned(),
            ("not_needed", _) => "not needed".to_owned(),
            (state, _) => state.to_owned(),
        };
        let last = self.last_heard.as_ref().map(|at| format!(", last posted {at}")).unwrap_or_default();
        let watermark = self.watermark.as_ref().map(|at| format!(", watermark {at}")).unwrap_or_default();
        format!("{} {state}{last}{watermark}", self.name)
    }
}

/// The feeds in one line; none without outcomes.
pub(super) fn feeds(report: &Report) -> Option<String> {
    let feeds: Vec<String> = report.feeds.iter().map(ReportedFeed::describe).collect();
    (!feeds.is_empty()).then(|| format!("feeds: {}", feeds.join("; ")))
}

/// Rows that were posted too late; none where there are none.
pub(super) fn too_late(report: &Report) -> Option<String> {
    let by_arm = report.too_late.iter().map(|(arm, n)| format!("{arm} {}", grouped(*n))).collect::<Vec<_>>().join(", ");
    let any = report.too_late.values().any(|n| *n > 0);
    any.then(|| format!("posted after their metric's lag, too late to count: {by_arm}"))
}
