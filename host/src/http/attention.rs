//! What needs a person, the most urgent first: for the console's list and for `GET /v1/attention`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use serin_core::Name;
use serin_core::experiment::State;
use utoipa::ToSchema;

use super::access::Caller;
use super::addresses::encoded;
use super::admin::{answer, read, with_progress, within_bytes};
use super::experiments::{reaches, warnings};
use super::summary::{RailSummary, Summary, summaries};
use super::{Problem, Service};
use crate::clock::Clock as _;
use crate::experiments::{ExperimentState, ExperimentStatus, HOST};
use crate::ledger::{LedgerReader, Reads as _, TransitionRow, Trouble};

/// How long an abort by the host is shown as one, in milliseconds.
const RECENT_MS: u64 = 24 * 60 * 60 * 1000;

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Urgency {
    /// A person is needed.
    Urgent,
    /// Worth a look.
    Look,
    /// It waits, and nothing is lost meanwhile.
    Waits,
}

/// Something that needs a person. Its urgency and its name are chosen here, for the overview and the experiment's page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Matter {
    pub(super) urgency: Urgency,
    /// What it is, in a few words.
    pub(super) kind: &'static str,
    /// What it is about.
    pub(super) about: String,
    /// The console's page of that; null where there is none.
    #[schema(required)]
    pub(super) page: Option<String>,
    /// The sentence for a reader.
    pub(super) says: String,
    /// What to do about it; null where the words say so.
    #[schema(required)]
    pub(super) next: Option<NextPage>,
    /// The experiment that it is about.
    #[schema(required)]
    pub(super) experiment: Option<String>,
}

/// Where something can be done about a matter.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NextPage {
    /// The console's page.
    pub(super) page: String,
    /// What to do there, in words.
    pub(super) text: String,
}

/// The address of an experiment's page.
fn page_of(id: &str) -> String {
    format!("/experiments/{}", encoded(id))
}

impl Matter {
    fn new(urgency: Urgency, kind: &'static str, about: impl Into<String>, says: impl Into<String>) -> Self {
        let (about, says) = (about.into(), says.into());
        Self { urgency, kind, about, page: None, says, next: None, experiment: None }
    }

    fn of(experiment: &ExperimentStatus, urgency: Urgency, kind: &'static str, says: impl Into<String>) -> Self {
        let matter = Self::new(urgency, kind, &*experiment.id, says).at(page_of(&experiment.id));
        Self { experiment: Some(experiment.id.clone()), ..matter }
    }

    /// The same, with the page of what it is about.
    fn at(self, page: impl Into<String>) -> Self {
        Self { page: Some(page.into()), ..self }
    }
}

/// How urgent the most urgent matter of each experiment is that has one.
pub(super) fn urgencies(matters: &[Matter]) -> BTreeMap<&str, Urgency> {
    let mut urgencies = BTreeMap::new();
    for matter in matters {
        if let Some(id) = &matter.experiment {
            let known = urgencies.entry(id.as_str()).or_insert(matter.urgency);
            *known = matter.urgency.min(*known);
        }
    }
    urgencies
}

/// Everything that needs a person, of what the caller may see.
pub(super) fn matters(
    service: &Service,
    ledger: &LedgerReader,
    caller: &Caller,
    known: &BTreeMap<Name, Summary>,
) -> Result<Vec<Matter>, Problem> {
    let mut found = host(service, caller);
    found.extend(points(service, caller));
    let status = service.status.load();
    let now_ms = service.clock.now_ms();
    for experiment in status.experiments.iter().filter(|experiment| reaches(caller, experiment).is_ok()) {
        let is_recent = experiment.status.ended_ms.is_some_and(|ended_ms| now_ms < ended_ms.saturating_add(RECENT_MS));
        if !experiment.status.state.is_ended() || is_recent {
            found.extend(of_experiment(service, ledger, experiment, known.get(&*experiment.id))?);
        }
    }
    if caller.reaches_all("plugins").is_ok() {
        found.extend(files(service));
    }
    // Stable: within a tone in the order above.
    found.sort_by_key(|matter| matter.urgency);
    Ok(found)
}

/// What of one experiment needs a person.
pub(super) fn of_experiment(
    service: &Service,
    ledger: &LedgerReader,
    experiment: &ExperimentStatus,
    known: Option<&Summary>,
) -> Result<Vec<Matter>, Problem> {
    let stop = last_stop(ledger, experiment)?;
    let mut found: Vec<Matter> = stop.iter().map(|stop| stopped(experiment, stop)).collect();
    found.extend(waits(service, ledger, experiment)?);
    if !experiment.status.state.is_ended() {
        found.extend(evidence(service, experiment, known, stop.as_ref()));
    }
    Ok(found)
}

/// What is wrong with the host and its `serin.toml`.
fn host(service: &Service, caller: &Caller) -> Vec<Matter> {
    if caller.reaches_all("the deployment").is_err() {
        return Vec::new();
    }
    let status = service.status.load();
    let file = "serin.toml";
    let errors = [
        ("file not applied", &status.config_error, file),
        ("not archived", &status.archive_error, "the archive"),
        ("certificate not applied", &status.tls_error, file),
        ("folder unreadable", &status.plugins_error, "plugins"),
        ("folder unreadable", &status.experiments_error, "experiments"),
    ];
    let errors = errors
        .into_iter()
        .filter_map(|(kind, error, about)| Some(Matter::new(Urgency::Urgent, kind, about, error.as_deref()?)));
    let mut found: Vec<Matter> = errors.collect();
    if let Some(trouble) = service.ledger.trouble() {
        let says = match trouble {
            Trouble::CommitFailed => {
                "the last commit failed: decisions at must_log points are refused until one succeeds"
            }
            Trouble::Moved => {
                "its file was moved or removed: decisions at must_log points are refused until it is back in its place; a \
                 start without it begins an empty ledger, in which experiments that have ended begin anew"
            }
        };
        found.insert(0, Matter::new(Urgency::Urgent, "not recording", "the ledger", says));
    }
    let doubt = service.clock_guard.doubt();
    found.extend(doubt.map(|why| {
        let says = format!(
            "{why}; until it is trusted the host starts, widens and ends no experiment by itself, and deletes nothing: \
             serin clock confirm --reason TEXT"
        );
        Matter::new(Urgency::Urgent, "clock doubted", "the clock", says)
    }));
    if !status.restart_required.is_empty() {
        let keys = format!("changed and not in force before a restart: {}", status.restart_required.join(", "));
        found.push(Matter::new(Urgency::Look, "restart required", file, keys));
    }
    found.extend(status.warnings.iter().map(|warning| Matter::new(Urgency::Look, "warning", file, warning)));
    found
}

fn points(service: &Service, caller: &Caller) -> Vec<Matter> {
    let (deployment, loading) = (service.deployment.load(), service.folder.loading());
    let mut points: Vec<_> = deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok()).collect();
    points.sort_by_key(|point| point.name.clone());
    let unready = points.into_iter().filter_map(|point| {
        let why = with_progress(point.unready.as_deref()?, &point.pin, &loading);
        Some(Matter::new(Urgency::Urgent, "not served", &*point.name, format!("{}: {why}", point.pin)))
    });
    unready.collect()
}

/// The change by which the host itself stopped an experiment, while it stands.
fn last_stop(ledger: &LedgerReader, experiment: &ExperimentStatus) -> Result<Option<TransitionRow>, Problem> {
    if !matches!(experiment.status.state, State::Paused | State::Aborted) {
        return Ok(None);
    }
    let changes = ledger.transitions(&experiment.id)?.into_iter().rev();
    let mut stops = changes.filter(|change| matches!(change.command.as_str(), "pause" | "abort" | "reopen"));
    Ok(stops.next().filter(|last| last.by == HOST))
}

fn stopped(experiment: &ExperimentStatus, stop: &TransitionRow) -> Matter {
    let kind = match experiment.status.state {
        State::Aborted => "aborted by the host",
        _ => "paused by the host",
    };
    Matter::of(experiment, Urgency::Urgent, kind, &*stop.reason)
}

/// What waits for a person's word.
fn waits(service: &Service, ledger: &LedgerReader, experiment: &ExperimentStatus) -> Result<Vec<Matter>, Problem> {
    let mut found = Vec::new();
    let link = |command: &str, text: &str| {
        Some(NextPage { page: format!("{}/{command}", page_of(&experiment.id)), text: text.to_owned() })
    };
    if let Some(pending) = &experiment.pending {
        let changes = match pending.changes.len() {
            1 => "1 change".to_owned(),
            n => format!("{n} changes"),
        };
        let says = experiment.error.clone().unwrap_or_else(|| "its file was edited".to_owned());
        let matter = Matter::of(experiment, Urgency::Look, "edit waits", says);
        found.push(Matter { next: link("amend", &changes), ..matter });
    } else if let Some(error) = &experiment.error {
        found.push(Matter::of(
            experiment,
            Urgency::Urgent,
            "file not applied",
            format!("{}: {error}", experiment.file),
        ));
    } else if matches!(experiment.state, ExperimentState::Invalid | ExperimentState::SpecMissing) {
        let kind = if experiment.state == ExperimentState::Invalid { "file not applied" } else { "file gone" };
        found.push(Matter::of(experiment, Urgency::Urgent, kind, &*experiment.why));
    }
    let is_draft = experiment.status.state == State::Draft && experiment.pending.is_none();
    let Some(spec) = experiment.spec.as_ref().filter(|_| is_draft) else { return Ok(found) };
    match service.controller.approvals(ledger, spec)?.1 {
        Some(lacks) => {
            let matter = Matter::of(experiment, Urgency::Look, "waits for approval", lacks);
            found.push(Matter { next: link("approve", "review it"), ..matter });
        }
        None if spec.manual_start && matches!(experiment.state, ExperimentState::Life(_)) => {
            let matter =
                Matter::of(experiment, Urgency::Waits, "waits for its start", "its file says start = \"manual\"");
            found.push(Matter { next: link("start", "start it"), ..matter });
        }
        None => {}
    }
    Ok(found)
}

/// What the evidence of an experiment says against it. What the host has stopped it for is said by that.
fn evidence(
    service: &Service,
    experiment: &ExperimentStatus,
    known: Option<&Summary>,
    stop: Option<&TransitionRow>,
) -> Vec<Matter> {
    let mut found = Vec::new();
    let Some(known) = known else { return found };
    let stopped_for = |key: &str| stop.map_or(&Value::Null, |stop| &stop.evidence[key]);
    let is_stopped_for =
        |rail: &RailSummary| stopped_for("guardrail") == &*rail.metric && stopped_for("arm") == &*rail.arm;
    if let Some(rail) = known.guardrail.as_ref().filter(|rail| rail.state == "harm" && !is_stopped_for(rail)) {
        let says = format!("guardrail {} shows harm in arm {}", rail.metric, rail.arm);
        found.push(Matter::of(experiment, Urgency::Urgent, "breached", says));
    }
    let is_split = |says: &str| says.starts_with("units do not fall");
    for says in &known.trouble {
        let is_mismatch = is_split(says) && known.srm_sequential_p < serin_core::analysis::SRM_ALPHA;
        if is_mismatch && stopped_for("srm").is_null() {
            found.push(Matter::of(experiment, Urgency::Urgent, "sample ratio mismatch", says));
        } else if !is_mismatch {
            found.push(Matter::of(experiment, Urgency::Look, "outcomes missing", says));
        }
    }
    // What is said above is not said again.
    let is_said =
        |warning: &String| is_split(warning) || known.trouble.iter().any(|says| warning.contains(says.as_str()));
    let other = warnings(service, experiment).into_iter().filter(|warning| !is_said(warning));
    found.extend(other.map(|warning| Matter::of(experiment, Urgency::Look, "warning", warning)));
    found
}

/// Artifacts and models that could not be loaded.
fn files(service: &Service) -> Vec<Matter> {
    let plugins = service.folder.statuses().into_iter().filter_map(|plugin| {
        let name = plugin.file.or_else(|| plugin.pin.map(|pin| pin.to_string())).unwrap_or(plugin.digest);
        Some(Matter::new(Urgency::Urgent, "plugin failed", name, plugin.error?).at("/plugins"))
    });
    let status = service.status.load();
    let models = status.models.iter().filter_map(|model| {
        Some(Matter::new(Urgency::Urgent, "model failed", &*model.id, model.error.as_deref()?).at("/models"))
    });
    plugins.chain(models).collect()
}

/// Everything that needs a person.
pub(super) async fn list(Shared(service): Shared<Arc<Service>>, caller: Caller) -> Result<Response, Problem> {
    let found = read(&service, move |service, budget| {
        let known = summaries(service);
        service.ledger.bounded(budget, |ledger| Ok(matters(service, ledger, &caller, &known)))
    });
    let (shown, left_out) = within_bytes(found.await???)?;
    answer(&service, json!({ "matters": shown, "left_out": left_out })).await
}
