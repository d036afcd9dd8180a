//! Schema of an experiment's report. The report itself is `crate::report`.

#![allow(dead_code, reason = "these types describe answers, and nothing makes them")]

use std::collections::HashMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::results::{ReportedFairness, ReportedGuardrail, ReportedMetric, ReportedSegment, ReportedShadow};

/// A report.
#[derive(ToSchema)]
pub(in crate::http) struct Report {
    /// The experiment.
    experiment: String,
    /// Its state.
    state: String,
    /// Its phase.
    phase: u32,
    /// What it is about.
    description: String,
    /// Who answers for it.
    owner: String,
    /// What is tried against what.
    versions: Vec<ReportVersion>,
    /// When it was analysed.
    as_of: String,
    /// SHA-256 of the spec that it was analysed by.
    spec_digest: String,
    /// The text of that spec, without the paths of its webhooks' addresses; empty in reports of older hosts.
    spec_text: String,
    /// The guardrail that the host stopped it for.
    #[schema(required)]
    stopped_by: Option<String>,
    /// The arm that serves, or that was chosen at its end; null while there is none.
    #[schema(required)]
    winner: Option<String>,
    /// What happened, oldest first; the latest ones, where there are many.
    changes: Vec<ReportChange>,
    /// Changes before those that are listed.
    changes_before: u64,
    /// Times that an allocation drew other shares; they are not listed.
    allocations: u64,
    /// A winner has shipped: units, metrics and guardrails are as of then, and `since_ship` has the
    /// units that entered since.
    against_held_back: bool,
    /// Units, and why some are not in the metrics yet.
    units: ReportUnits,
    /// Outcomes that metrics name and that happened before their unit entered, by arm: they count
    /// for nothing.
    before_entry: HashMap<String, u64>,
    /// Rows that happened within a metric's window and were posted after its lag, by arm: they count for
    /// nothing.
    too_late: HashMap<String, u64>,
    /// The feeds of the outcomes that metrics name.
    feeds: Vec<ReportedFeed>,
    /// Units that the decision point excluded since they entered, by arm: they stay counted.
    excluded: HashMap<String, ReportExcluded>,
    /// Whether units fall to the arms as the weights say.
    srm: SampleRatio,
    /// The metrics.
    metrics: Vec<ReportedMetric>,
    /// The guardrails, arm by arm.
    guardrails: Vec<ReportedGuardrail>,
    /// How groups of people fare, arm by arm; monitors, not law.
    fairness: Vec<ReportedFairness>,
    /// Goals by segment: exploratory.
    segments: Vec<ReportedSegment>,
    /// What shadow arms would have done.
    shadows: Vec<ReportedShadow>,
    /// Decisions by action, by arm.
    actions: HashMap<String, HashMap<String, u64>>,
    /// What was known before, oldest first.
    history: Vec<HistoryPoint>,
    /// What a reader has to know.
    warnings: Vec<String>,
    /// What follows.
    verdict: ReportedVerdict,
    /// The verdict on each arm but control.
    arms: Vec<ReportedArmVerdict>,
    /// What forbids shipping, whatever the arms show; in sentences.
    forbids: Vec<String>,
    /// When the experiment started.
    #[schema(required)]
    started_at: Option<String>,
    /// What happens next.
    #[schema(required)]
    next: Option<NextStep>,
    /// The ramp; none once a winner has shipped.
    #[schema(required)]
    ramp: Option<ReportRamp>,
    /// The batch in force; none with fixed shares, and once a winner has shipped.
    #[schema(required)]
    allocation: Option<ReportAllocation>,
    /// How far the first goal is towards its planned units; none without a goal, with adaptive shares,
    /// and once a winner has shipped.
    #[schema(required)]
    progress: Option<Progress>,
    /// Whether the data are sound.
    checks: Vec<ReportCheck>,
    /// What has changed since the experiment ended, where it was asked for.
    #[schema(nullable = false)]
    since_end: Option<SinceEnd>,
    /// What units that entered since a winner shipped show.
    #[schema(nullable = false)]
    since_ship: Option<SinceShip>,
}

/// Units: entered = mature + everything left out.
#[derive(ToSchema)]
struct ReportUnits {
    /// Units with a decision in the experiment.
    entered: u64,
    /// Those that every metric has waited for.
    mature: u64,
    /// The others.
    left_out: ReportLeftOut,
}

/// Units that are left out, and why.
#[derive(ToSchema)]
struct ReportLeftOut {
    /// A metric's window and lag have not passed, or a feed has not been heard of since.
    not_mature: u64,
    /// They were decided about by hand only.
    forced: u64,
    /// They left their arm when the winner shipped.
    moved: u64,
    /// Their arm was dropped. These have entered, too.
    dropped: u64,
}

/// Units that were excluded after they had entered.
#[derive(ToSchema)]
struct ReportExcluded {
    /// Units.
    units: u64,
    /// Their decisions since then that the constraint served.
    decisions: u64,
}

/// Sample ratio mismatch.
#[derive(ToSchema)]
struct SampleRatio {
    /// Chi-squared, looked at once; none where there is too little.
    #[schema(required)]
    p: Option<f64>,
    /// Valid however often it is looked at.
    sequential_p: f64,
    /// Units by arm.
    counts: HashMap<String, u64>,
    /// Weights by arm.
    expected: HashMap<String, f64>,
}

/// The verdict on an arm.
#[derive(ToSchema)]
struct ReportedArmVerdict {
    /// The arm.
    arm: String,
    /// ship, hold or stop.
    decision: String,
    /// Why.
    why: String,
    /// Of an arm that ships: where it is worse, and its file tolerates that; in sentences.
    #[schema(nullable = false)]
    tolerated: Option<Vec<String>>,
}

/// What follows.
#[derive(ToSchema)]
struct ReportedVerdict {
    /// ship, hold or stop.
    decision: String,
    /// Why.
    why: String,
}

/// A strategy's version, as an arm runs it.
#[derive(ToSchema)]
struct ReportVersion {
    /// The arm.
    arm: String,
    /// `control`, `new` or `shadow`.
    role: String,
    /// The strategy and its exact version.
    strategy: String,
    /// What is in place of the manifest's defaults.
    parameters: HashMap<String, Value>,
}

/// A change of an experiment's status.
#[derive(ToSchema)]
struct ReportChange {
    /// When.
    at: String,
    /// Who; `serin` for the host.
    by: String,
    /// The command.
    command: String,
    /// The phase after it.
    phase: u32,
    /// Why.
    reason: String,
    /// SHA-256 of the spec in force.
    spec_digest: String,
}

/// The feed of an outcome's name.
#[derive(ToSchema)]
struct ReportedFeed {
    /// The outcome's name.
    name: String,
    /// `alive`, `silent`, `never_heard` or `not_needed`.
    state: String,
    /// When an outcome of this name was last received.
    #[schema(required)]
    last_heard: Option<String>,
    /// The newest watermark.
    #[schema(required)]
    watermark: Option<String>,
    /// The usual time between two signs of life, in milliseconds; none if there was none.
    #[schema(required)]
    usual_gap_ms: Option<u64>,
    /// When it is taken for silent unless it is heard of before, or since when it is.
    #[schema(required)]
    silent_from: Option<String>,
}

/// What happens next.
#[derive(ToSchema)]
struct NextStep {
    /// What, as a sentence without a period.
    what: String,
    /// The earliest time, where it is known.
    #[schema(required)]
    when: Option<String>,
}

/// A ramp.
#[derive(ToSchema)]
struct ReportRamp {
    /// The current step, counted from 1.
    step: u64,
    /// Units that have entered.
    units: u64,
    /// The steps.
    steps: Vec<ReportRampStep>,
}

/// A step of a ramp.
#[derive(ToSchema)]
struct ReportRampStep {
    /// The share of the slot in use, from 0 to 1.
    coverage: f64,
    /// How long it lasts at least, in milliseconds.
    hold_ms: u64,
    /// Units that must have entered before the next step.
    min_units: u64,
    /// The evidence that the next step asks for: `fast` or `non_inferior`.
    #[schema(required)]
    gate: Option<String>,
}

/// How far a goal is towards its planned units.
#[derive(ToSchema)]
struct Progress {
    /// The goal.
    metric: String,
    /// The planned units, of control and one arm.
    planned: u64,
    /// Of them, those that are mature, in the arm with the fewest.
    mature: u64,
    /// Days until the planned units are mature, at the pace so far; none if no unit enters, or in
    /// the first minute.
    #[schema(required)]
    days_left: Option<f64>,
    /// The smallest effect that the planned units find with a power of 80 %, in the metric's unit. It
    /// follows from the mean and the deviation of all units, never from the observed effect.
    #[schema(required)]
    detectable: Option<f64>,
    /// The same as a share of the mean.
    #[schema(required)]
    detectable_relative: Option<f64>,
}

/// Whether the data are sound in one respect.
#[derive(ToSchema)]
struct ReportCheck {
    /// `split` (sample ratio mismatch), `left_in` (who is in a metric), `feeds` or `ledger`.
    name: String,
    /// Whether it is as it should be.
    ok: bool,
    /// What was found, as a sentence without a period.
    says: String,
}

/// The batch in force.
#[derive(ToSchema)]
struct ReportAllocation {
    /// Its number, counted from 1.
    batch: u64,
    /// When it began.
    began_at: String,
    /// The arms' shares of the units that enter in it.
    shares: HashMap<String, f64>,
    /// When the next one is due; none where no other follows.
    #[schema(required)]
    next_at: Option<String>,
}

/// A report of an experiment that has ended, against the one as of its end.
#[derive(ToSchema)]
struct SinceEnd {
    /// When it ended.
    ended_at: String,
    /// What differs; empty where nothing does.
    differences: Vec<ReportDifference>,
}

/// A number or a word that differs.
#[derive(ToSchema)]
struct ReportDifference {
    /// What it is of, as a path: `metrics.cured.arms.next.mean`.
    what: String,
    /// At the end.
    at_end: Value,
    /// Now.
    now: Value,
}

/// The results of units that entered since a winner shipped: those that the winner serves, against
/// those held back. Units that entered before are in none of them.
#[derive(ToSchema)]
struct SinceShip {
    /// When the winner shipped.
    shipped_at: String,
    /// The winner.
    winner: String,
    /// Units that entered since. `moved` are those that entered before, and that the winner serves now.
    units: ReportUnits,
    /// Whether units fall to the winner and the holdback as the file says.
    srm: SampleRatio,
    /// The metrics.
    metrics: Vec<ReportedMetric>,
    /// The guardrails. Harm takes the winner back.
    guardrails: Vec<ReportedGuardrail>,
    /// How groups of people fare.
    fairness: Vec<ReportedFairness>,
    /// Decisions by action, by arm.
    actions: HashMap<String, HashMap<String, u64>>,
    /// What these units show; `stop` takes the winner back.
    verdict: ReportedVerdict,
}

/// A snapshot of an experiment's results.
#[derive(ToSchema)]
struct HistoryPoint {
    /// When, in milliseconds since the Unix epoch.
    at_ms: u64,
    /// The phase.
    phase: u32,
    /// The share of the slot in use.
    coverage: f64,
    /// Units entered so far, by arm.
    units: HashMap<String, u64>,
    /// The arms' shares of units in force.
    weights: HashMap<String, f64>,
    /// Decisions so far, by arm and action.
    actions: HashMap<String, HashMap<String, u64>>,
    /// p of a sample ratio mismatch, valid at any time.
    srm_sequential_p: f64,
    /// The results of metrics.
    effects: Vec<ReportEffect>,
}

/// A metric in one arm against control at one time.
#[derive(ToSchema)]
struct ReportEffect {
    /// The metric.
    metric: String,
    /// The arm.
    arm: String,
    /// The difference of the means.
    difference: f64,
    /// Its interval.
    interval: [f64; 2],
    /// Mature units in the arm.
    units: u64,
}
