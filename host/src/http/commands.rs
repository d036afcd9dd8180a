//! Commands of people: on an experiment, on all of them, on the clock.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use serin_core::Name;
use serin_core::experiment::Command;

use super::access::{COMMANDS, Caller};
use super::admin::{blocking, rfc3339};
use super::agreement::nothing_left;
use super::came_of::CameOf;
use super::experiments::{find, whole};
use super::wire::{Body, InPath};
use super::{Problem, Service};
use crate::access::Role;
use crate::experiments::{CommandError, ExperimentState, Motive};
use crate::ledger::{ConfirmError, Reads as _};

/// Characters of a reason, and of a name. Browsers count them as well: [`MAX_TEXT`] is in the forms.
pub(super) const MAX_TEXT: usize = 1024;

/// Stops every ramp where it is.
pub(super) async fn freeze(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let wire: WireCommand = body.parse()?;
    let motive = motive(&caller, wire.reason, wire.by)?;
    let paused = freeze_all(&service, &caller, motive).await?;
    let paused: Vec<&str> = paused.iter().map(|id| &**id).collect();
    Ok(Json(json!({ "paused": paused })))
}

/// Pauses every running experiment; the ids of those that were.
pub(super) async fn freeze_all(service: &Arc<Service>, caller: &Caller, motive: Motive) -> Result<Vec<Name>, Problem> {
    caller.reaches_all("freezing all experiments")?;
    let specs: Vec<_> =
        service.status.load().experiments.iter().filter_map(|experiment| experiment.spec.clone()).collect();
    let paused = blocking(service, move |service| {
        let paused = service.controller.freeze(&specs, &motive);
        (service.reload)();
        paused
    });
    paused.await?.map_err(refused)
}

fn refused(error: CommandError) -> Problem {
    let text = error.to_string();
    match error {
        CommandError::Ledger(error) => error.into(),
        CommandError::NothingToApprove => Problem::new(StatusCode::CONFLICT, "nothing-to-approve", text),
        CommandError::NoApprover(_) => Problem::new(StatusCode::CONFLICT, "not-approved", text),
        CommandError::NotApproved(_) => Problem::new(StatusCode::CONFLICT, "not-approved", text),
        CommandError::Changed { .. } => Problem::new(StatusCode::PRECONDITION_FAILED, "changed", text),
        CommandError::NotPossible(_) | CommandError::ClockDoubted(_) => {
            Problem::new(StatusCode::CONFLICT, "not-possible", text)
        }
    }
}

/// Takes a person's word for it that the clock is right.
pub(super) async fn confirm_clock(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    caller.reaches_all("confirming the host's clock")?;
    let wire: WireCommand = body.parse()?;
    let motive = motive(&caller, wire.reason, wire.by)?;
    let confirmed = blocking(&service, move |service| service.clock_guard.confirm(&motive.by, &motive.reason)).await?;
    match confirmed {
        Ok(now_ms) => Ok(Json(json!({ "confirmed": rfc3339(now_ms) }))),
        Err(error @ ConfirmError::Trusted) => {
            Err(Problem::new(StatusCode::CONFLICT, "clock-trusted", error.to_string()))
        }
        Err(ConfirmError::Ledger(error)) => Err(error.into()),
    }
}

/// Who gives a command, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCommand {
    reason: String,
    /// Needed without `[access]`; with it, whom the credential names acts, whatever is said here.
    by: Option<String>,
    winner: Option<String>,
}

/// Who acts, and why: whom the credential names, whatever is said.
pub(super) fn motive(caller: &Caller, reason: String, by: Option<String>) -> Result<Motive, Problem> {
    let by = caller.name().map(|name| name.to_string()).or(by).unwrap_or_default();
    for (key, text) in [("reason", &reason), ("by", &by)] {
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
            return Err(Problem::invalid(key, format!("{key}: 1 to {MAX_TEXT} characters of text are needed")));
        }
        if serin_core::without_tokens(text) != text.as_str() {
            let detail =
                format!("{key}: has a token in it, and would be read by many; say it without, and replace the token");
            return Err(Problem::invalid(key, detail));
        }
    }
    if by.chars().any(serin_core::is_line_break) {
        return Err(Problem::invalid("by", "by: has a line break; valid: one line"));
    }
    Ok(Motive { by, reason, evidence: Value::Null })
}

/// Carries out a command; it is in force when this has returned.
pub(super) async fn command(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath((id, name)): InPath<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let judged = generation(&headers)?;
    // By the name as it is carried out: a path can be written in several ways.
    caller.has(role_of(&name))?;
    let wire: WireCommand = body.parse()?;
    let request = parse(&name, wire.winner)?;
    let motive = motive(&caller, wire.reason, wire.by)?;
    carry_out(&service, &caller, id, Order { request, motive, judged, seen: None }).await.map(Json)
}

/// The role that a command needs.
pub(super) fn role_of(name: &str) -> Role {
    if name == "approve" { Role::Approve } else { Role::Operate }
}

/// A command of a person on an experiment.
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) motive: Motive,
    /// The generation of the status that it was decided on.
    pub(super) judged: Option<u64>,
    /// The digest of the file that the person has seen: the one in force, or its edit where they approve or amend.
    pub(super) seen: Option<String>,
}

/// Carries out a command; it is in force when this has returned.
pub(super) async fn carry_out(
    service: &Arc<Service>,
    caller: &Caller,
    id: String,
    Order { request, motive, judged, seen }: Order,
) -> Result<Value, Problem> {
    let status = find(service, caller, &id)?;
    let Some(spec) = status.spec else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "not-possible",
            format!("its file is not applied: {}", status.error.unwrap_or(status.why)),
        ));
    };
    if let Some(why) = without_file(status.state, &status.why, request.name()) {
        return Err(Problem::new(StatusCode::CONFLICT, "not-possible", why));
    }
    if let (Request::Approve, Some(why)) = (&request, nothing_left(&status.status)) {
        return Err(Problem::new(StatusCode::CONFLICT, "not-possible", why));
    }
    let pending = status.pending.as_ref().filter(|_| matches!(request, Request::Approve | Request::Amend));
    let of_file = pending.map_or(&spec.digest, |pending| &pending.spec.digest);
    if let Some(seen) = seen.filter(|seen| *seen != **of_file) {
        let detail = format!("the file has changed: it is {of_file} now, not {seen}; look at it again");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "changed", detail));
    }
    let about = match request {
        Request::Approve | Request::Amend => of_file.to_string(),
        Request::Command(_) => String::new(),
    };
    // Said first: what is refused is about a file, too.
    CameOf { about: about.clone(), is_unchanged: false }.say();
    let done = blocking(service, move |service| {
        let is_new = match (request, status.pending) {
            (Request::Command(command), _) => service.controller.command(&spec, &command, motive, judged).map(|_| true),
            // What is approved is the file as it is.
            (Request::Approve, pending) => {
                let spec = pending.map_or(spec, |pending| pending.spec);
                // An edit that waits is in the archive only once it is in force. The approval counts all the same.
                if let Err(error) = service.versions.keep_spec(&spec) {
                    tracing::warn!(%error, experiment = %spec.id, "an approved file could not be archived");
                }
                service.controller.approve(&spec, motive.by, motive.reason)
            }
            (Request::Amend, Some(pending)) => {
                // The difference was seen in this generation.
                let judged = judged.unwrap_or(status.status.generation);
                service.controller.amend(&pending, motive, Some(judged)).map(|_| true)
            }
            (Request::Amend, None) => return Err(nothing_pending()),
        }
        .map_err(|error| told(service, &id, error))?;
        (service.reload)();
        Ok((is_new, whole(service, &*service.ledger, &id)?))
    });
    let (is_new, shown) = done.await??;
    CameOf { about, is_unchanged: !is_new }.say();
    Ok(shown)
}

/// Why a command is not possible while the file is gone, or does not fit the deployment: it would begin or widen what no
/// file asks for.
pub(super) fn without_file(state: ExperimentState, why: &str, name: &str) -> Option<String> {
    let widens = ["start", "promote", "resume"].contains(&name);
    match state {
        ExperimentState::SpecMissing if widens => {
            Some(format!("its file is gone, so it cannot {name}: put the file back first"))
        }
        ExperimentState::Invalid if widens => Some(format!("its file is not applied, so it cannot {name}: {why}")),
        _ => None,
    }
}

/// A refusal; of a status that has changed, with what has changed it.
fn told(service: &Service, id: &str, error: CommandError) -> Problem {
    let CommandError::Changed { judged, now } = error else { return refused(error) };
    let problem = refused(error);
    // Without the ledger the generations are all that is known.
    let changes = service.ledger.transitions(id).unwrap_or_default();
    let Some(last) = changes.iter().rev().find(|change| change.generation > judged) else { return problem };
    let at = rfc3339(last.time_ms);
    let (by, reason) = (serin_core::printable(&last.by), serin_core::printable(&last.reason));
    let detail = format!(
        "the experiment has changed since it was looked at: {} by {by} at {at} (\u{201c}{reason}\u{201d}), and it is {} \
         now; look at it again (its generation is {now}, not {judged})",
        last.command, last.to
    );
    Problem { detail, ..problem }
}

/// The generation of the status that a command was decided on, as `If-Match: "7"`.
fn generation(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let quoted = value.to_str().ok().and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'));
    match (quoted.and_then(|text| text.parse().ok()), values.next()) {
        (Some(generation), None) => Ok(Some(generation)),
        _ => Err(Problem::invalid(
            "If-Match",
            "If-Match: one quoted generation is needed, as GET /v1/experiments/{id} shows it; example: \"7\"",
        )),
    }
}

/// What a person asks for.
pub(super) enum Request {
    Command(Command),
    /// To approve the file.
    Approve,
    /// To decide on the edit of the file that waits for it.
    Amend,
}

impl Request {
    /// Its name in paths.
    fn name(&self) -> &'static str {
        match self {
            Self::Command(command) => command.as_str(),
            Self::Approve => "approve",
            Self::Amend => "amend",
        }
    }
}

fn nothing_pending() -> Problem {
    let detail = "no edit of its file waits for a decision: edit the file first, and look at `pending` in \
                  GET /v1/experiments/{id}";
    Problem::new(StatusCode::CONFLICT, "not-possible", detail)
}

/// The command of a name.
pub(super) fn parse(name: &str, winner: Option<String>) -> Result<Request, Problem> {
    if winner.is_some() && name != "conclude" {
        return Err(Problem::invalid("winner", "winner is for conclude"));
    }
    Ok(Request::Command(match name {
        "approve" => return Ok(Request::Approve),
        "amend" => return Ok(Request::Amend),
        "start" => Command::Start,
        "promote" => Command::Promote,
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "abort" => Command::Abort,
        "conclude" => match winner {
            Some(winner) => Command::Conclude { winner: winner.into() },
            None => return Err(Problem::invalid("winner", "winner: needed: the arm that won")),
        },
        _ => {
            let valid = format!("no such command; valid: {}", COMMANDS.join(", "));
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-command", valid));
        }
    }))
}
