//! How running experiments stand, in a few numbers each: from the host's last look at their units, so
//! that a list of hundreds costs no analysis.

use std::collections::BTreeMap;

use serde::Serialize;
use serin_core::Name;
use serin_core::analysis::{Analysis, Decide, GuardrailResult, HarmStatus, NeverPosted, Observed, SRM_ALPHA};
use serin_core::experiment::{Experiment, Role};
use utoipa::ToSchema;

use super::{Problem, Service};
use crate::ledger::Reads;
use crate::report::is_share;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// The shortest time that a pace is computed from, in milliseconds.
const LEAST_PACE_MS: u64 = 60_000;
/// Decisions that are read for the pace at a decision point.
const MOST_READ: u32 = 20_000;

/// How an experiment stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Units that have entered.
    pub(super) units: u64,
    /// Of them, those whose outcomes are all in.
    pub(super) mature: u64,
    /// Units that entered within the last day; projected to a day in the first one. Null in the first minute.
    #[schema(required)]
    pub(super) units_per_day: Option<f64>,
    /// The time that this pace is of, in milliseconds: less than a day where it is projected. Null in the first minute.
    #[schema(required)]
    pub(super) paced_ms: Option<u64>,
    /// The first goal; null without a goal.
    #[schema(required)]
    pub(super) goal: Option<GoalSummary>,
    /// The guardrail that is nearest to its limit; null without guardrails.
    #[schema(required)]
    pub(super) guardrail: Option<RailSummary>,
    /// `ship`, `hold` or `stop`.
    pub(super) verdict: &'static str,
    /// Why.
    pub(super) verdict_why: String,
    /// p of a sample ratio mismatch, valid at any time.
    pub(super) srm_sequential_p: f64,
    /// What keeps the data from being believed, in sentences.
    pub(super) trouble: Vec<String>,
}

/// A goal in one arm.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GoalSummary {
    /// The goal.
    pub(super) metric: String,
    /// The arm.
    pub(super) arm: String,
    /// The difference from control; null where there is not enough data.
    #[schema(required)]
    pub(super) difference: Option<f64>,
    /// Its interval.
    #[schema(required)]
    pub(super) interval: Option<[f64; 2]>,
    /// The difference as a share of control's mean.
    #[schema(required)]
    pub(super) relative: Option<f64>,
    /// Its interval.
    #[schema(required)]
    pub(super) relative_interval: Option<[f64; 2]>,
    /// Its means are shares of units, from 0 to 1.
    pub(super) is_share: bool,
    /// `better`, `worse`, `open`, `provisional` or `too early`.
    pub(super) state: &'static str,
}

/// A guardrail in one arm.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RailSummary {
    /// What it watches.
    pub(super) metric: String,
    /// The arm.
    pub(super) arm: String,
    /// `harm`, `holds` or `inconclusive`.
    pub(super) state: &'static str,
    /// The upper bound of the change for the worse as a share of what is allowed: it holds below 1. Null
    /// without bounds.
    #[schema(required)]
    pub(super) used: Option<f64>,
    /// That bound's interval as a share of what is allowed.
    #[schema(required)]
    pub(super) interval: Option<[f64; 2]>,
}

impl Summary {
    fn of(observed: &Observed, analysis: &Analysis, now_ms: u64) -> Self {
        let feeds = analysis.feeds.iter().filter(|feed| feed.is_silent());
        let feeds = feeds.map(serin_core::analysis::FeedResult::describe);
        let never = observed.never_posted().iter().map(NeverPosted::describe);
        let split = (analysis.srm_sequential_p < SRM_ALPHA)
            .then(|| "units do not fall to the arms as the weights say: no result can be trusted".to_owned());
        let (units_per_day, paced_ms) = per_day(observed, now_ms).unzip();
        Self {
            units: analysis.entered,
            mature: analysis.mature,
            units_per_day,
            paced_ms,
            goal: goal(observed, analysis),
            guardrail: nearest(observed, analysis),
            verdict: analysis.verdict.decision.as_str(),
            verdict_why: analysis.verdict.why.clone(),
            srm_sequential_p: analysis.srm_sequential_p,
            trouble: split.into_iter().chain(never).chain(feeds).collect(),
        }
    }

    /// Whether its verdict is to stop.
    pub(super) fn stops(&self) -> bool {
        self.verdict == Decide::Stop.as_str()
    }
}

/// The pace at which units enter, and the time that it is of.
fn per_day(observed: &Observed, now_ms: u64) -> Option<(f64, u64)> {
    let units = observed.units();
    let since_ms = now_ms.saturating_sub(DAY_MS);
    let entered = units.len() - units.partition_point(|unit| unit.entry_ms < since_ms);
    let began_ms = observed.course.started_ms.unwrap_or(now_ms);
    let ran_ms = now_ms.saturating_sub(began_ms.max(since_ms));
    (ran_ms >= LEAST_PACE_MS).then(|| ((entered as f64 * DAY_MS as f64 / ran_ms as f64).round(), ran_ms))
}

fn goal(observed: &Observed, analysis: &Analysis) -> Option<GoalSummary> {
    let spec = &observed.spec;
    let result = analysis.metrics.iter().find(|found| spec.metrics[found.metric].role == Role::Goal)?;
    let is_winner = |arm: &Name| analysis.winner.as_ref() == Some(arm);
    let comparisons = || result.comparisons.iter();
    let shown = comparisons().find(|found| is_winner(&found.arm)).or_else(|| comparisons().next())?;
    let (metric, found) = (&spec.metrics[result.metric], shown.found.as_ref().ok());
    let finite = |ends: [f64; 2]| ends.iter().all(|end| end.is_finite()).then_some(ends);
    let relative = found.filter(|found| found.lift.is_some());
    let relative = relative.map(|found| found.estimate.difference / found.estimate.control.abs());
    Some(GoalSummary {
        metric: metric.name.to_string(),
        arm: shown.arm.to_string(),
        difference: found.map(|found| found.estimate.difference),
        interval: found.and_then(|found| finite([found.interval.low, found.interval.high])),
        relative: relative.filter(|lift| lift.is_finite()),
        relative_interval: found.and_then(|found| finite(found.lift?)),
        is_share: is_share(metric),
        state: match found {
            None => "too early",
            Some(found) if !found.is_final => "provisional",
            Some(found) if found.better => "better",
            Some(found) if found.significant => "worse",
            Some(_) => "open",
        },
    })
}

/// The guardrail that is nearest to its limit: harm first, then by what is used of what is allowed.
fn nearest(observed: &Observed, analysis: &Analysis) -> Option<RailSummary> {
    let summary = |found: &GuardrailResult| {
        let share = |value: Option<f64>| match found.count {
            Some([events, most]) => Some(events as f64 / most.max(1) as f64),
            None => Some(value? / found.margin.filter(|margin| *margin > 0.0)?).filter(|share| share.is_finite()),
        };
        RailSummary {
            metric: observed.spec.guardrails[found.guardrail].name.to_string(),
            arm: found.arm.to_string(),
            state: match found.status {
                HarmStatus::Harm => "harm",
                other => other.as_str(),
            },
            used: share(found.upper),
            interval: share(found.lower).zip(share(found.upper)).map(|(low, high)| [low, high]),
        }
    };
    nearest_of(analysis.guardrails.iter().map(summary))
}

/// The nearest of these.
pub(super) fn nearest_of(rails: impl Iterator<Item = RailSummary>) -> Option<RailSummary> {
    let rank = |rail: &RailSummary| match rail.state {
        "harm" => f64::INFINITY,
        _ => rail.used.unwrap_or(f64::NEG_INFINITY),
    };
    rails.max_by(|one, other| rank(one).total_cmp(&rank(other)))
}

/// How every experiment that takes units stands.
pub(super) fn summaries(service: &Service) -> BTreeMap<Name, Summary> {
    let now_ms = service.clock.now_ms();
    let found = service
        .observer
        .each_analysed(None, |observed, analysis| (observed.spec.id.clone(), Summary::of(observed, analysis, now_ms)));
    found.into_iter().collect()
}

/// How one experiment stands; none before the host has looked at it.
pub(super) fn summary(service: &Service, id: &str) -> Option<Summary> {
    let now_ms = service.clock.now_ms();
    let found = service.observer.each_analysed(Some(id), |observed, analysis| Summary::of(observed, analysis, now_ms));
    found.into_iter().next()
}

/// The pace at which different units came to a decision point lately, by the day, and the time that it is of.
pub(super) fn at_point(
    service: &Service,
    ledger: &impl Reads,
    spec: &Experiment,
) -> Result<Option<(f64, u64)>, Problem> {
    let now_ms = service.clock.now_ms();
    let (units, oldest_ms) = ledger.units_since(&spec.decision_point, now_ms.saturating_sub(DAY_MS), MOST_READ)?;
    let Some(oldest_ms) = oldest_ms else { return Ok(None) };
    let of_ms = now_ms.saturating_sub(oldest_ms).max(LEAST_PACE_MS);
    Ok(Some((units as f64 * DAY_MS as f64 / of_ms as f64, of_ms)))
}
