//! The admin listener's experiments: how they stand.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use serin_core::analysis::Observed;
use serin_core::experiment::{self, Experiment, Pin, Status};

use super::access::Caller;
use super::admin::{MAX_LIST_BYTES, answer, read, rfc3339, sent, with_progress, within_bytes};
use super::agreement::approvals;
use super::decisions::internal;
use super::summary::{Summary, at_point, summaries, summary};
use super::wire::{InPath, unfit_query};
use super::{Problem, Service};
use crate::experiments::{ExperimentState, ExperimentStatus, Seen, read_whole};
use crate::ledger::{AffectedOutcome, Approval, LedgerReader, Reads};
use crate::report::{Report, ReportContext, page_policy};

/// Units of one answer.
const MAX_AFFECTED: u32 = 10_000;

fn as_json(service: &Service, status: &ExperimentStatus, summary: Option<&Summary>) -> Value {
    let time = |ms: Option<u64>| ms.map(rfc3339);
    let spec = status.spec.as_ref().map(|spec| {
        json!({
            "id": &*spec.id,
            "decision_point": &*spec.decision_point,
            "owner": spec.owner,
            "slot": spec.slot,
            "salt": spec.salt,
            "eligible": spec.eligible,
            "control": &*spec.control,
            "ramp": spec.ramp.iter().map(|step| json!({
                "coverage": step.coverage, "hold_ms": step.hold_ms, "min_units": step.min_units,
            })).collect::<Vec<_>>(),
            "arms": spec.arms.iter().map(|arm| json!({
                "name": &*arm.name, "strategy": arm.strategy.to_string(), "weight": arm.weight, "parameters": arm.parameters,
            })).collect::<Vec<_>>(),
            "shadows": spec.shadows.iter().map(|shadow| json!({
                "name": &*shadow.arm.name, "strategy": shadow.arm.strategy.to_string(), "sample": shadow.sample,
            })).collect::<Vec<_>>(),
            "on_success": if spec.ships { "ship" } else { "hold" },
            "holdback": spec.holdback,
            "min_duration_ms": spec.min_duration_ms,
            "max_duration_ms": spec.max_duration_ms,
            "metrics": spec.metrics.iter().map(|metric| json!({
                "name": &*metric.name, "role": metric.role.as_str(),
            })).collect::<Vec<_>>(),
            "guardrails": spec.guardrails.iter().map(|guardrail| &*guardrail.name).collect::<Vec<_>>(),
            "digest": &*spec.digest,
        })
    });
    json!({
        "id": status.id,
        "file": status.file,
        "state": status.state.as_str(),
        "phase": status.status.phase,
        "coverage": status.spec.as_ref().map(|_| status.status.applied),
        "why": why(service, status),
        "error": status.error,
        "stale": status.stale,
        "warnings": warnings(service, status),
        "started_at": time(status.status.started_ms),
        "ended_at": time(status.status.ended_ms),
        "winner": status.status.winner.as_deref(),
        "generation": status.status.generation,
        "pending": status.pending.as_ref().map(|pending| json!({
            "spec_digest": &*pending.spec.digest, "changes": pending.changes,
        })),
        "shares": status.spec.as_ref().filter(|spec| spec.allocation.is_some()).map(|spec| status.status.weights(spec)),
        "spec": spec,
        "summary": summary,
    })
}

/// The versions that an experiment runs.
fn pins(spec: &Experiment) -> impl Iterator<Item = (&str, &Pin)> {
    let arms = spec.arms.iter().chain(spec.shadows.iter().map(|shadow| &shadow.arm));
    arms.map(|arm| (&*arm.name, &arm.strategy))
}

/// Why it is in its state; of an artifact that it waits for, how long that has been compiled.
pub(super) fn why(service: &Service, status: &ExperimentStatus) -> String {
    let (ExperimentState::Waiting, Some(spec)) = (status.state, &status.spec) else { return status.why.clone() };
    let loading = service.folder.loading();
    let named = pins(spec).map(|(_, pin)| pin).find(|pin| status.why.contains(&pin.to_string()));
    named.map_or_else(|| status.why.clone(), |pin| with_progress(&status.why, pin, &loading))
}

/// What a reader has to know of its evidence, and of the files that it runs from.
pub(super) fn warnings(service: &Service, status: &ExperimentStatus) -> Vec<String> {
    let mut warnings = service.controller.warnings(&status.id);
    let Some(spec) = status.spec.as_ref().filter(|_| status.status.state.takes_units()) else { return warnings };
    let stale = service.folder.stale();
    let gone = pins(spec).filter(|(_, pin)| stale.contains(pin));
    warnings.extend(gone.map(|(arm, pin)| {
        format!("arm '{arm}': the file of {pin} is gone; it is served from the archive: put the file back, or end the experiment")
    }));
    warnings
}

/// An experiment that the caller may see.
pub(super) fn find(service: &Service, caller: &Caller, id: &str) -> Result<ExperimentStatus, Problem> {
    let status = service.status.load();
    let is_seen = |status: &&ExperimentStatus| reaches(caller, status).is_ok();
    if let Some(found) = status.every_experiment().find(|status| status.id == id).filter(is_seen) {
        return Ok(found.clone());
    }
    let known: Vec<&str> = status.experiments.iter().filter(is_seen).map(|status| status.id.as_str()).collect();
    Err(caller.nowhere("unknown-experiment", "experiment", &known))
}

/// An experiment that was found before.
pub(super) fn found(service: &Service, id: &str) -> Result<ExperimentStatus, Problem> {
    let status = service.status.load();
    let found = status.every_experiment().find(|status| status.id == id).cloned();
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "unknown-experiment", "no such experiment any more"))
}

/// Refuses an experiment at a decision point that the caller's roles are not for.
pub(super) fn reaches(caller: &Caller, status: &ExperimentStatus) -> Result<(), Problem> {
    match &status.spec {
        Some(spec) => caller.reaches(&spec.decision_point),
        None => caller.reaches_all("what is about a file that is not applied"),
    }
}

/// Every experiment.
pub(super) async fn list(State(service): State<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    let listed = read(&service, move |service, _| {
        let (status, known) = (service.status.load(), summaries(service));
        let reached = status.every_experiment().filter(|status| reaches(&caller, status).is_ok());
        within_bytes(reached.map(|status| as_json(service, status, known.get(&*status.id))))
    });
    let (experiments, left_out) = listed.await??;
    answer(&service, json!({ "experiments": experiments, "left_out": left_out })).await
}

/// One experiment, with every change of its status.
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    find(&service, &caller, &id)?;
    let shown =
        read(&service, move |service, budget| service.ledger.bounded(budget, |ledger| Ok(whole(service, ledger, &id))));
    let shown = shown.await???;
    answer(&service, shown).await
}

/// An experiment with its history and approvals. Reads the ledger, so not on an async worker.
pub(super) fn whole(service: &Service, ledger: &impl Reads, id: &str) -> Result<Value, Problem> {
    let status = found(service, id)?;
    let spec = status.spec.as_ref();
    let approvals = spec.map(|spec| approvals(service, ledger, (spec, &status.status))).transpose()?;
    let (approvals, lacks) = approvals.unwrap_or_default();
    let mut shown = as_json(service, &status, summary(service, id).as_ref());
    let approval =
        |a: Approval| json!({ "at": rfc3339(a.time_ms), "by": a.by, "reason": a.reason, "spec_digest": a.spec_digest });
    shown["approvals"] = approvals.into_iter().map(approval).collect();
    shown["lacks"] = json!(lacks);
    if let (experiment::State::Draft, Some(spec)) = (status.status.state, &status.spec) {
        shown["at_point"] = match at_point(service, ledger, spec)? {
            Some((units_per_day, paced_ms)) => json!({ "units_per_day": units_per_day, "paced_ms": paced_ms }),
            None => Value::Null,
        };
    }
    let history = ledger.transitions(id)?.into_iter().rev().map(|change| {
        json!({
            "at": rfc3339(change.time_ms), "command": change.command, "from": change.from, "to": change.to,
            "phase": change.phase, "by": change.by, "reason": change.reason,
            "spec_digest": change.spec_digest, "evidence": change.evidence, "generation": change.generation,
        })
    });
    // The newest, where they are more than a list may take.
    let (mut newest, left_out) = within_bytes(history)?;
    newest.reverse();
    shown["history"] = json!(newest);
    shown["history_left_out"] = json!(left_out);
    Ok(shown)
}

/// In what form to report.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportQuery {
    #[serde(default)]
    format: ReportFormat,
    /// Of an experiment that has ended: as of now, with what has changed since its end.
    #[serde(default)]
    recompute: bool,
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum ReportFormat {
    #[default]
    Json,
    Text,
    Html,
}

impl ReportFormat {
    fn draw(self, report: &Report) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(report).unwrap_or_default(),
            Self::Text => report.to_string().into_bytes(),
            Self::Html => report.html().into_bytes(),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// What an experiment has shown.
pub(super) async fn report(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
    query: Result<Query<ReportQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    let status = find(&service, &caller, &id)?.status;
    let drawn = read(&service, move |service, budget| {
        let report = |ledger: &LedgerReader| Ok(report_of(service, ledger, &id, &status, query.recompute));
        service.ledger.bounded(budget, report).map(|report| report.map(|report| query.format.draw(&report)))
    });
    let mut answer = sent(&service, drawn.await???, query.format.content_type())?;
    if let ReportFormat::Html = query.format {
        let policy = HeaderValue::from_str(&page_policy()).map_err(|_| internal())?;
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(answer)
}

/// The report of an experiment; once it has ended, as of its end, or as of now if that is asked for.
pub(super) fn report_of(
    service: &Service,
    ledger: &LedgerReader,
    id: &str,
    status: &Status,
    recompute: bool,
) -> Result<Report, Problem> {
    let end = ledger.final_report(id)?;
    let end = end.map(|json| serde_json::from_str::<Report>(&json));
    let end = match end {
        Some(Ok(end)) if !recompute => {
            // Reports of older hosts did not say it.
            let winner = end.winner.or_else(|| status.winner.as_ref().map(ToString::to_string));
            return Ok(Report { winner, ..end });
        }
        Some(Err(error)) if !recompute => return Err(unreadable(&error)),
        end => end.and_then(Result::ok),
    };
    let (mut context, now_ms) = (Some(ReportContext::of(ledger, id)?), service.clock.now_ms());
    // What has ended and is not kept yet is as of its end, too.
    let as_of_ms = status.ended_ms.filter(|_| !recompute).unwrap_or(now_ms);
    let held = service.controller.stood.as_held(id, status.clone(), now_ms);
    let stands = service.controller.stood.stands_still(id);
    let mut report = |observed: &Observed| {
        let report = Report::new(observed, &held, context.take().unwrap_or_default(), as_of_ms);
        if stands { report.standing_still() } else { report }
    };
    let seen = match status.ended_ms {
        // What is followed until it is kept lacks what came later.
        Some(_) if recompute => Seen::Unknown,
        _ => service.observer.with(id, |followed| report(&followed.observed))?,
    };
    match seen {
        Seen::Whole(report) => Ok(report.as_shipped(ledger, status.shipped_ms)?),
        Seen::Reading if status.ended_ms.is_none() => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "reading",
            "its units are being read from the ledger, since its file was edited; try again in a second",
        )),
        // It has ended, and is not followed any more, or is read again without what came later.
        Seen::Unknown | Seen::Reading => {
            let shown = service.status.load();
            let subject = shown.subjects.iter().find(|subject| *subject.spec.id == *id);
            let subject = subject.ok_or_else(|| match status.started_ms {
                None => not_begun(),
                Some(_) => no_file(recompute),
            })?;
            let subject = if recompute { subject.clone().without_end() } else { subject.clone() };
            let report = report(&read_whole(ledger, &subject)?);
            Ok(match end {
                Some(end) => report.compared_with(&end),
                None => report,
            })
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Problem {
    let detail = format!(
        "the report as of its end cannot be read: {error}; ask for one as of now with recompute=true, or serin report --recompute"
    );
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "report-unreadable", detail)
}

fn not_begun() -> Problem {
    Problem::new(StatusCode::CONFLICT, "not-begun", "it has not begun: there is nothing to report yet")
}

/// An experiment of which no file is left, and no report as of its end, or not that one was asked for.
fn no_file(recompute: bool) -> Problem {
    let detail = match recompute {
        true => {
            "its file is gone, so its report as of its end is all that can be shown of it; ask without recompute, or put \
             the file back"
        }
        false => {
            "its file is gone, and its report as of its end is not there; where it has just ended, that is made within a \
             minute: ask again, or put the file back"
        }
    };
    Problem::new(StatusCode::CONFLICT, "no-file", detail)
}

/// Which units to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AffectedQuery {
    arm: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

fn affected_outcome(outcome: AffectedOutcome) -> Value {
    let (by, at) = outcome.taken_back.map(|taken| (taken.by, taken.at_ms.map(rfc3339))).unzip();
    let mut shown = json!({
        "name": outcome.name, "value": outcome.value, "at": outcome.at_ms.map(rfc3339),
        "taken_back_by": by, "taken_back_at": at.flatten(),
    });
    if let Some(error) = outcome.error {
        shown["error"] = error.into();
    }
    shown
}

/// Whom an experiment touched, with decisions and outcomes.
pub(super) async fn affected(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
    query: Result<Query<AffectedQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    let limit = query.limit.unwrap_or(1000);
    if !(1..=MAX_AFFECTED).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit: valid: 1 to {MAX_AFFECTED}")));
    }
    let status = find(&service, &caller, &id)?;
    if let (Some(arm), Some(spec)) = (&query.arm, &status.spec)
        && !spec.arms.iter().any(|known| *known.name == **arm)
    {
        let arms = spec.arms.iter().map(|arm| &*arm.name).collect::<Vec<_>>().join(", ");
        return Err(Problem::invalid("arm", format!("arm: '{arm}' is not one of {id}; arms: {arms}")));
    }
    let kind = {
        let known = service.status.load();
        let subject = known.subjects.iter().find(|subject| *subject.spec.id == *id);
        let of_spec = status.spec.as_ref().and_then(|spec| spec.unit.clone());
        subject.map(|subject| subject.course.unit.clone()).or(of_spec)
    };
    let Some(kind) = kind else {
        return answer(&service, json!({ "units": [], "next": null })).await;
    };
    let units = read(&service, move |service, budget| {
        let (of, after) = ((&*kind, &*id, query.arm.as_deref()), query.after.as_deref().unwrap_or_default());
        service.ledger.bounded(budget, |ledger| ledger.affected(of, after, limit, MAX_LIST_BYTES))
    });
    let (units, is_more) = units.await??;
    let next = units.last().filter(|_| is_more).map(|unit| unit.unit.clone());
    let listed: Vec<Value> = units
        .into_iter()
        .map(|unit| {
            let outcomes: Vec<Value> = unit.outcomes.into_iter().map(affected_outcome).collect();
            json!({
                "unit": unit.unit, "arm": unit.arm, "decisions": unit.decisions, "decision_count": unit.decision_count,
                "outcomes": outcomes, "outcome_count": unit.outcome_count,
            })
        })
        .collect();
    answer(&service, json!({ "units": listed, "next": next })).await
}
