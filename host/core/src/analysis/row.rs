//! The rows of a ledger that an analysis is made of.

use super::unit::Place;

/// A decision inside the experiment.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The position of its row in the ledger.
    pub place: Place,
    /// The unit.
    pub unit: &'a str,
    /// The arm.
    pub arm: &'a str,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The action that was served.
    pub action: &'a str,
    /// The outcome of the arm's attempt: `answer`, `refusal`, or the kind of failure.
    pub outcome: &'a str,
    /// Whether the decision was served by something other than the arm.
    pub fell_back: bool,
    /// Its duration in microseconds.
    pub took_us: u64,
    /// Its arm was forced: it stays out of the analysis.
    pub forced: bool,
    /// The batch in which its arm was drawn; none if shares are fixed.
    pub batch: Option<u32>,
    /// The unit's attributes, as a JSON object by the names of [`Experiment::attributes`].
    pub attributes: Option<&'a str>,
}

/// An outcome or exposure of a unit.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// The unit.
    pub unit: &'a str,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the ledger received it, in milliseconds since the Unix epoch.
    pub received_ms: u64,
    /// The position of the newest decision in the ledger when this was stored.
    pub after: Place,
}
