//! Schemas of a report's results: metrics, guardrails, groups and shadow arms.

#![allow(dead_code, reason = "these types describe answers, and nothing makes them")]

use std::collections::HashMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A guardrail in one arm.
#[derive(ToSchema)]
pub(super) struct ReportedGuardrail {
    /// What it watches.
    metric: String,
    /// The arm.
    arm: String,
    /// harm, holds or inconclusive.
    state: String,
    /// What that rests on.
    evidence: Value,
    /// What it stops at and what it lets ship; empty in reports of older hosts.
    rule: String,
    /// What it watches is a share of units.
    is_share: bool,
    /// Why it says no more.
    #[schema(nullable = false)]
    why: Option<String>,
}

/// A metric.
#[derive(ToSchema)]
pub(super) struct ReportedMetric {
    /// Its name.
    name: String,
    /// What it is for.
    role: String,
    /// It was added after the first unit: it decides nothing.
    exploratory: bool,
    /// How the intervals are made.
    method: String,
    /// What else than the plain difference is compared.
    #[schema(nullable = false)]
    adjustment: Option<String>,
    /// Error rate of each interval.
    alpha: f64,
    /// How many tests share the file's alpha; `alpha` is the part of one. 0 in reports of older hosts.
    shared_by: u64,
    /// Its means are shares of units, from 0 to 1.
    is_share: bool,
    /// Units at which the confidence sequence is tightest.
    planned_units: u64,
    /// Which way is better: `increase` or `decrease`.
    #[schema(nullable = false)]
    direction: Option<String>,
    /// From a unit's entry, how long its rows count.
    window_ms: u64,
    /// How late a row may be posted.
    lag_ms: u64,
    /// The largest change for the worse that the file tolerates, in the metric's unit.
    #[schema(nullable = false)]
    tolerate: Option<f64>,
    /// By arm.
    arms: HashMap<String, ReportedArm>,
    /// Units that are left out here, and why.
    left_out: HashMap<String, u64>,
    /// Mature units that are not in it, by arm: without a row, or not exposed.
    left_out_by_arm: HashMap<String, u64>,
    /// Each arm against control.
    comparisons: Vec<ReportedComparison>,
}

/// A metric in one arm.
#[derive(ToSchema)]
struct ReportedArm {
    /// Mature units.
    units: u64,
    /// Their mean or ratio; where the difference is adjusted, control's plus the difference.
    #[schema(required)]
    mean: Option<f64>,
}

/// An arm against control.
#[derive(ToSchema)]
struct ReportedComparison {
    /// The arm.
    arm: String,
    /// Control.
    against: String,
    /// The difference of the means; none where there is not enough data.
    #[schema(required)]
    difference: Option<f64>,
    /// As a share of control's.
    #[schema(required)]
    relative: Option<f64>,
    /// The interval of that share; none where control's mean is not clearly different from 0.
    #[schema(required)]
    relative_interval: Option<[f64; 2]>,
    /// Its interval.
    #[schema(required)]
    interval: Option<[f64; 2]>,
    /// Where the metric declares `prior_sd`, and a winner has shipped: the posterior mean of the
    /// difference, and its standard deviation.
    #[schema(nullable = false)]
    shrunken: Option<Shrunken>,
    /// Its p.
    #[schema(required)]
    p: Option<f64>,
    /// The interval does not hold zero.
    significant: bool,
    /// Whether that is the way that is wanted; none where it is not significant.
    #[schema(nullable = false)]
    better: Option<bool>,
    /// Whether it is significantly worse, at the error rate that all metrics share.
    worse: bool,
    /// A fixed method's planned units are not all mature: nothing is concluded from this yet.
    provisional: bool,
    /// Why nothing can be said yet.
    #[schema(nullable = false)]
    not_enough: Option<String>,
}

/// A difference shrunken towards zero, since what shipped was chosen for being large.
#[derive(ToSchema)]
struct Shrunken {
    /// The posterior mean, in the metric's unit.
    difference: f64,
    /// The posterior standard deviation, in the same unit.
    sd: f64,
    /// The prior's standard deviation, from the file.
    prior_sd: f64,
}

/// A group in an arm, against the reference group in the same arm.
#[derive(ToSchema)]
pub(super) struct ReportedFairness {
    /// What people are grouped by.
    attribute: String,
    /// The arm.
    arm: String,
    /// The group.
    group: String,
    /// The group that it is compared with.
    reference: String,
    /// The rate: `selection` (none of the adverse actions), or a goal's name.
    rate: String,
    /// Units of both.
    units: [u64; 2],
    /// The well-treated of both, as shares.
    rates: [Option<f64>; 2],
    /// The first share by the second.
    #[schema(required)]
    ratio: Option<f64>,
    /// Bounds of the ratio, valid however often they are looked at; none above where there is none.
    interval: Vec<Option<f64>>,
    /// The smallest ratio that is allowed.
    min_ratio: f64,
    /// harm, holds or inconclusive.
    state: String,
    /// The arm is control: it is shown, and stops nothing.
    control: bool,
    /// Why it says no more.
    #[schema(nullable = false)]
    why: Option<String>,
}

/// A goal in an arm, among the units of one segment.
#[derive(ToSchema)]
pub(super) struct ReportedSegment {
    /// The attribute.
    attribute: String,
    /// Its value; none for those of whom it is not known.
    #[schema(required)]
    value: Option<String>,
    /// The goal.
    metric: String,
    /// The arm.
    arm: String,
    /// Mature units in control and in the arm.
    units: [u64; 2],
    /// The difference of the means.
    #[schema(required)]
    difference: Option<f64>,
    /// Its interval, by itself.
    #[schema(required)]
    interval: Option<[f64; 2]>,
    /// Its p, by itself.
    #[schema(required)]
    p: Option<f64>,
    /// Its p among all segments that are shown (Benjamini and Hochberg).
    #[schema(required)]
    adjusted_p: Option<f64>,
    /// Error rate of the interval, which the adjusted p is to be compared with, too; 0 in reports of
    /// older hosts.
    alpha: f64,
    /// The goal's means are shares of units.
    is_share: bool,
    /// Why nothing can be said.
    #[schema(nullable = false)]
    not_enough: Option<String>,
}

/// What a shadow arm would have done.
#[derive(ToSchema)]
pub(super) struct ReportedShadow {
    /// The arm.
    arm: String,
    /// Decisions that it was run on.
    decisions: u64,
    /// The share of them where it would have had the same action served.
    agreement: f64,
    /// Runs without an answer, by what came of them.
    failures: HashMap<String, u64>,
    /// Runs that were dropped, since decisions came first.
    dropped: u64,
    /// Decisions by the action that was served, then by the shadow's.
    matrix: HashMap<String, HashMap<String, u64>>,
    /// Microseconds a run, p50 and p99.
    took_us: [u64; 2],
    /// The same of the runs that served.
    served_us: [u64; 2],
}
