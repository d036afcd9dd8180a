//! One decision, from a request to a finished record.

use std::sync::Arc;
use std::time::Duration;

use serin_core::answer::{draw, serve};
use serin_core::experiment::Attribute;
use serin_core::record::{Answer, Entropy, NotEnrolled, Outcome, Record, Role, Routing, SCHEMA, ServedBy};
use serin_core::{Name, NameMap};

use super::attempt::{Attempted, NotBrief, Thread, attempt};
use super::request::admit;
use super::route::{DecisionScope, route};
use super::shadow::{Shadowed, sampled};
use super::{BoundArm, DecisionRequest, DeploymentSnapshot, Point, RequestError, gather};
use crate::clock::{Budget, Clock, Stopwatch, decision_id};

/// Shares of the deadline that an arm leaves for the fallback strategy, and that every
/// strategy leaves for the commit.
const FALLBACK_SHARE: f64 = 0.3;
const COMMIT_SHARE: f64 = 0.1;

/// A finished decision.
pub struct Decided {
    /// The record.
    pub record: Record,
    /// The kind of thread that it was made on.
    pub thread: Thread,
    /// Whether the answer waits for the commit of the record.
    pub must_log: bool,
    /// The attributes of the unit that its experiment's analysis uses.
    pub attributes: Option<Arc<[Attribute]>>,
    /// The shadow arms to run after the answer has left.
    pub shadowed: Option<Shadowed>,
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The request does not fit its decision point. Later failures lead to the fallback, not to an error.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A thread of the listener would have been kept. Nothing came of it, and a deciding thread makes it anew.
    #[error("the decision takes longer than a thread of the listener may be kept")]
    NotBrief,
}

impl From<NotBrief> for Undecided {
    fn from(_: NotBrief) -> Self {
        Self::NotBrief
    }
}

/// Makes a decision on a thread of this kind. `budget` started when the request arrived; `deadline` is its
/// total.
///
/// # Errors
/// Why there is none.
pub fn decide(
    thread: Thread,
    deployment: &Arc<DeploymentSnapshot>,
    request: &DecisionRequest,
    clock: &dyn Clock,
    budget: Budget,
    deadline: Duration,
) -> Result<Decided, Undecided> {
    let admitted = admit(deployment, request)?;
    let point = admitted.point;
    let time_ms = clock.now_ms();
    let for_strategy = budget.less(deadline.mul_f64(COMMIT_SHARE));
    let for_arm = budget.less(deadline.mul_f64(COMMIT_SHARE + FALLBACK_SHARE));
    let mut watch = Stopwatch::new();
    let mut timings = Timings::new(budget.spent_us());

    let span = tracing::debug_span!("gather").entered();
    let features = gather::gather(deployment, &point, &admitted.entities, time_ms, !for_strategy.left().is_zero());
    drop(span);
    timings.note("gather", watch.lap_us());

    let known = DecisionScope::new(&admitted.entities, &admitted.context, &features);
    let span = tracing::debug_span!("route").entered();
    let batch_of = |at: usize, unit: &str| point.experiments[at].batch_of(unit, time_ms, !request.dry_run);
    let routed = route(&point.routing, &admitted.entities, &known, request.force.as_ref(), batch_of)?;
    drop(span);
    timings.note("route", watch.lap_us());

    let experiment = routed.experiment.and_then(|at| point.experiments.get(at));
    let arm = experiment.zip(routed.arm).and_then(|(experiment, at)| experiment.arms.get(at));
    let mut record = Record {
        schema: SCHEMA,
        trace_id: None,
        decision_id: decision_id(clock, time_ms),
        decision_point: point.name.clone(),
        time_ms,
        utc_offset_minutes: request.utc_offset_minutes,
        generation: deployment.generation,
        deployment: Some(point.routing.digest.clone()),
        deadline_ms: deadline.as_millis() as u64,
        entities: admitted.entities,
        context: admitted.context,
        features,
        routing: routed.routing,
        attempts: Vec::with_capacity(1),
        entropy: Entropy(clock.entropy()),
        answer: fallback(&point, ServedBy::FallbackAction, Vec::new()),
        timings_us: NameMap::default(),
    };
    record.answer = if record.routing.excluded.is_some() {
        let degraded = excluded_by_doubt(&record.routing);
        fallback(&point, ServedBy::Constraint, degraded)
    } else {
        let plan = plan(&point, arm, for_arm, for_strategy);
        answer(thread, deployment, &point, &mut record, plan, &mut timings)?
    };
    let not_enrolled = record.routing.not_enrolled.as_ref();
    record.answer.degraded.extend(not_enrolled.and_then(NotEnrolled::trouble));
    record.timings_us = timings.0;
    let attributes = experiment.filter(|e| !e.attributes.is_empty()).map(|e| Arc::clone(&e.attributes));
    let shadowed = experiment.and_then(|e| sampled(deployment, &point, e, &record.decision_id));
    Ok(Decided { must_log: point.must_log, thread, attributes, shadowed, record })
}

fn fallback(point: &Point, served_by: ServedBy, degraded: Vec<String>) -> Answer {
    Answer {
        action: point.fallback.action.clone(),
        parameters: point.fallback.parameters.clone(),
        reasons: Vec::new(),
        strategy: None,
        propensity: 1.0,
        served_by,
        degraded,
    }
}

/// The entry in `degraded` for a constraint that could not be evaluated, and therefore excludes.
/// Causes other than a missing value are only in the record, because their texts are unbounded.
fn excluded_by_doubt(routing: &Routing) -> Vec<String> {
    match routing.excluded.as_deref() {
        None | Some("excluded") => Vec::new(),
        Some(why) if why.starts_with("missing: ") => vec![format!("exclude:{why}")],
        Some(_) => vec!["exclude:error".to_owned()],
    }
}

type Plan<'p> = Vec<(&'p BoundArm, Role, ServedBy, Budget)>;

/// The strategies to try, in order: the arm, then the point's own strategy unless it is the same
/// version with the same parameters.
fn plan<'p>(point: &'p Point, arm: Option<&'p BoundArm>, for_arm: Budget, for_strategy: Budget) -> Plan<'p> {
    let mut plan = Vec::with_capacity(2);
    let own = point.strategy.as_ref();
    if let Some(arm) = arm {
        let is_own = own.is_some_and(|own| own.plugin.id == arm.plugin.id && own.parameters == arm.parameters);
        plan.push((arm, Role::Arm, ServedBy::Arm, if is_own { for_strategy } else { for_arm }));
        if let Some(own) = own.filter(|_| !is_own) {
            plan.push((own, Role::FallbackStrategy, ServedBy::FallbackStrategy, for_strategy));
        }
    } else if let Some(own) = own {
        plan.push((own, Role::Strategy, ServedBy::Strategy, for_strategy));
    }
    plan
}

fn answer(
    thread: Thread,
    deployment: &DeploymentSnapshot,
    point: &Point,
    record: &mut Record,
    plan: Plan<'_>,
    timings: &mut Timings,
) -> Result<Answer, NotBrief> {
    let mut failed = Vec::new();
    if plan.is_empty() {
        failed.push(format!("strategy:{}:not_loaded", point.pin.name));
    }
    for (arm, role, served_by, budget) in plan {
        let span =
            tracing::debug_span!("attempt", strategy = %arm.plugin.id.name, version = %arm.plugin.id.version).entered();
        let Attempted { attempt, degraded, score_us, run_us } =
            attempt(deployment, record, arm, (role, thread), budget, &record.attempts)?;
        drop(span);
        timings.note("score", score_us);
        timings.note("run", run_us);
        let answer = match &attempt.outcome {
            Outcome::Candidates(candidates) => {
                let candidate = &candidates[draw(candidates, record.entropy)];
                let degraded = failed.drain(..).chain(degraded).collect();
                Some(serve(candidate, arm.plugin.manifest(), attempt.strategy.clone(), served_by, degraded))
            }
            _ => {
                failed.extend(attempt.missing_scores());
                failed.push(attempt.trouble());
                None
            }
        };
        record.attempts.push(attempt);
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Ok(fallback(point, ServedBy::FallbackAction, failed))
}

/// Microseconds per stage; repeated stages are summed.
struct Timings(NameMap<u64>);

impl Timings {
    fn new(queue_us: u64) -> Self {
        let mut timings = Self(NameMap::with_capacity_and_hasher(5, Default::default()));
        timings.note("queue", queue_us);
        timings
    }

    fn note(&mut self, stage: &'static str, us: u64) {
        *self.0.entry(stage_name(stage)).or_insert(0) += us;
    }
}

/// The stages' names, shared by all records.
fn stage_name(stage: &'static str) -> Name {
    use std::sync::LazyLock;
    static NAMES: LazyLock<Vec<Name>> =
        LazyLock::new(|| ["queue", "gather", "route", "score", "run"].map(Name::from).to_vec());
    NAMES.iter().find(|name| ***name == *stage).cloned().unwrap_or_else(|| stage.into())
}
