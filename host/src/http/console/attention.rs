//! What needs a person, the most urgent first.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;
use serin_core::Name;
use serin_core::experiment::State;

use super::words::{self, Tone, badge, grouped};
use crate::experiments::{ExperimentState, ExperimentStatus, HOST};
use crate::http::access::Caller;
use crate::http::admin::with_progress;
use crate::http::experiments::{reaches, warnings};
use crate::http::summary::{RailSummary, Summary};
use crate::http::{Problem, Service};
use crate::ledger::{LedgerReader, Reads as _, TransitionRow};

/// How long an abort by the host is shown as one, in milliseconds.
const RECENT_MS: u64 = 24 * 60 * 60 * 1000;
/// Matters that are listed.
const MOST: usize = 100;
/// Experiments whose changes are read from the ledger for it.
const MOST_READ: usize = 50;

/// Something that needs a person. Its tone and its name are chosen here, for the overview and the experiment's page.
pub struct Matter {
    tone: Tone,
    /// What it is, in a few words.
    kind: &'static str,
    /// What it is about, with a link.
    about: Markup,
    /// The sentence for a reader.
    pub says: String,
    /// What to do about it; none where the words say so.
    next: Option<Markup>,
    /// The experiment that it is about.
    experiment: Option<String>,
}

impl Matter {
    fn new(tone: Tone, kind: &'static str, about: Markup, says: impl Into<String>) -> Self {
        Self { tone, kind, about, says: says.into(), next: None, experiment: None }
    }

    fn of(experiment: &ExperimentStatus, tone: Tone, kind: &'static str, says: impl Into<String>) -> Self {
        let matter = Self::new(tone, kind, words::experiment(&experiment.id), says);
        Self { experiment: Some(experiment.id.clone()), ..matter }
    }

    /// The urgent first.
    fn urgency(&self) -> u8 {
        match self.tone {
            Tone::Bad => 0,
            Tone::Warn => 1,
            Tone::Open | Tone::Good => 2,
        }
    }
}

/// The most urgent matter of each experiment that has one; less is more urgent.
pub fn urgencies(matters: &[Matter]) -> BTreeMap<&str, u8> {
    let mut urgencies = BTreeMap::new();
    for matter in matters {
        if let Some(id) = &matter.experiment {
            let known = urgencies.entry(id.as_str()).or_insert(u8::MAX);
            *known = matter.urgency().min(*known);
        }
    }
    urgencies
}

/// Everything that needs a person, of what the caller may see.
pub fn matters(
    service: &Service,
    ledger: &LedgerReader,
    caller: &Caller,
    known: &BTreeMap<Name, Summary>,
) -> Result<Vec<Matter>, Problem> {
    let mut found = host(service, caller);
    found.extend(points(service, caller));
    let status = service.status.load();
    let (now_ms, mut read) = (service.clock.now_ms(), 0);
    for experiment in status.experiments.iter().filter(|experiment| reaches(caller, experiment).is_ok()) {
        let is_recent = experiment.status.ended_ms.is_some_and(|ended_ms| now_ms < ended_ms.saturating_add(RECENT_MS));
        if !experiment.status.state.is_ended() || is_recent {
            found.extend(of_experiment(service, ledger, experiment, known.get(&*experiment.id), &mut read)?);
        }
    }
    if caller.reaches_all("plugins").is_ok() {
        found.extend(files(service));
    }
    // Stable: within a tone in the order above.
    found.sort_by_key(Matter::urgency);
    Ok(found)
}

/// What of one experiment needs a person. `read` counts the experiments that the ledger was read for.
pub fn of_experiment(
    service: &Service,
    ledger: &LedgerReader,
    experiment: &ExperimentStatus,
    known: Option<&Summary>,
    read: &mut usize,
) -> Result<Vec<Matter>, Problem> {
    let stop = last_stop(ledger, experiment, read)?;
    let mut found: Vec<Matter> = stop.iter().map(|stop| stopped(experiment, stop)).collect();
    found.extend(waits(service, ledger, experiment, read)?);
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
    let file = || html! { code { "serin.toml" } };
    let errors = [
        ("file not applied", &status.config_error, file()),
        ("not archived", &status.archive_error, html! { "the archive" }),
        ("certificate not applied", &status.tls_error, file()),
        ("folder unreadable", &status.plugins_error, html! { "plugins" }),
        ("folder unreadable", &status.experiments_error, html! { "experiments" }),
    ];
    let errors = errors
        .into_iter()
        .filter_map(|(kind, error, about)| Some(Matter::new(Tone::Bad, kind, about, error.as_deref()?)));
    let mut found: Vec<Matter> = errors.collect();
    if !service.ledger.is_healthy() {
        let says = "the last commit failed: decisions at must_log points are refused until one succeeds";
        found.insert(0, Matter::new(Tone::Bad, "not recording", html! { "the ledger" }, says));
    }
    let doubt = service.clock_guard.why_doubted();
    found.extend(doubt.map(|why| Matter::new(Tone::Bad, "clock doubted", html! { "the clock" }, why.to_string())));
    if !status.restart_required.is_empty() {
        let keys = format!("changed and not in force before a restart: {}", status.restart_required.join(", "));
        found.push(Matter::new(Tone::Warn, "restart required", file(), keys));
    }
    found.extend(status.warnings.iter().map(|warning| Matter::new(Tone::Warn, "warning", file(), warning)));
    found
}

fn points(service: &Service, caller: &Caller) -> Vec<Matter> {
    let (deployment, loading) = (service.deployment.load(), service.folder.loading());
    let mut points: Vec<_> = deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok()).collect();
    points.sort_by_key(|point| point.name.clone());
    let unready = points.into_iter().filter_map(|point| {
        let why = with_progress(point.unready.as_deref()?, &point.pin, &loading);
        Some(Matter::new(Tone::Bad, "not served", html! { (point.name) }, format!("{}: {why}", point.pin)))
    });
    unready.collect()
}

/// The change by which the host itself stopped an experiment, while it stands.
fn last_stop(
    ledger: &LedgerReader,
    experiment: &ExperimentStatus,
    read: &mut usize,
) -> Result<Option<TransitionRow>, Problem> {
    if !matches!(experiment.status.state, State::Paused | State::Aborted) || *read >= MOST_READ {
        return Ok(None);
    }
    *read += 1;
    let changes = ledger.transitions(&experiment.id)?.into_iter().rev();
    let mut stops = changes.filter(|change| matches!(change.command.as_str(), "pause" | "abort" | "reopen"));
    Ok(stops.next().filter(|last| last.by == HOST))
}

fn stopped(experiment: &ExperimentStatus, stop: &TransitionRow) -> Matter {
    let kind = match experiment.status.state {
        State::Aborted => "aborted by the host",
        _ => "paused by the host",
    };
    Matter::of(experiment, Tone::Bad, kind, &*stop.reason)
}

/// What waits for a person's word.
fn waits(
    service: &Service,
    ledger: &LedgerReader,
    experiment: &ExperimentStatus,
    read: &mut usize,
) -> Result<Vec<Matter>, Problem> {
    let mut found = Vec::new();
    let link = |command: &str, text: &str| {
        let path = format!("/experiments/{}/{command}", words::encoded(&experiment.id));
        Some(html! { a href=(path) { (text) } })
    };
    if let Some(pending) = &experiment.pending {
        let changes = match pending.changes.len() {
            1 => "1 change".to_owned(),
            n => format!("{n} changes"),
        };
        let says = experiment.error.clone().unwrap_or_else(|| "its file was edited".to_owned());
        let matter = Matter::of(experiment, Tone::Warn, "edit waits", says);
        found.push(Matter { next: link("amend", &changes), ..matter });
    } else if let Some(error) = &experiment.error {
        found.push(Matter::of(experiment, Tone::Bad, "file not applied", format!("{}: {error}", experiment.file)));
    } else if matches!(experiment.state, ExperimentState::Invalid | ExperimentState::SpecMissing) {
        found.push(Matter::of(experiment, Tone::Bad, "file not applied", &*experiment.why));
    }
    let is_draft = experiment.status.state == State::Draft && experiment.pending.is_none();
    let Some(spec) = experiment.spec.as_ref().filter(|_| is_draft && *read < MOST_READ) else { return Ok(found) };
    *read += 1;
    match service.controller.approvals(ledger, spec)?.1 {
        Some(lacks) => {
            let matter = Matter::of(experiment, Tone::Warn, "waits for approval", lacks);
            found.push(Matter { next: link("approve", "review it"), ..matter });
        }
        None if spec.manual_start && matches!(experiment.state, ExperimentState::Life(_)) => {
            let matter = Matter::of(experiment, Tone::Open, "waits for its start", "its file says start = \"manual\"");
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
        found.push(Matter::of(experiment, Tone::Bad, "breached", says));
    }
    let is_split = |says: &str| says.starts_with("units do not fall");
    for says in &known.trouble {
        let is_mismatch = is_split(says) && known.srm_sequential_p < serin_core::analysis::SRM_ALPHA;
        if is_mismatch && stopped_for("srm").is_null() {
            found.push(Matter::of(experiment, Tone::Bad, "sample ratio mismatch", says));
        } else if !is_mismatch {
            found.push(Matter::of(experiment, Tone::Warn, "outcomes missing", says));
        }
    }
    // What is said above is not said again.
    let is_said =
        |warning: &String| is_split(warning) || known.trouble.iter().any(|says| warning.contains(says.as_str()));
    let other = warnings(service, experiment).into_iter().filter(|warning| !is_said(warning));
    found.extend(other.map(|warning| Matter::of(experiment, Tone::Warn, "warning", warning)));
    found
}

/// Artifacts and models that could not be loaded.
fn files(service: &Service) -> Vec<Matter> {
    let plugins = service.folder.statuses().into_iter().filter_map(|plugin| {
        let name = plugin.file.or_else(|| plugin.pin.map(|pin| pin.to_string())).unwrap_or(plugin.digest);
        Some(Matter::new(Tone::Bad, "plugin failed", html! { a href="/plugins" { (name) } }, plugin.error?))
    });
    let status = service.status.load();
    let models = status.models.iter().filter_map(|model| {
        let about = html! { a href="/models" { (model.id) } };
        Some(Matter::new(Tone::Bad, "model failed", about, model.error.as_deref()?))
    });
    plugins.chain(models).collect()
}

/// The list.
pub fn draw(matters: &[Matter]) -> Markup {
    let urgent = matters.iter().filter(|matter| matter.tone == Tone::Bad).count();
    let count = |n: usize| grouped(n as u64);
    html! {
        section.attention aria-labelledby="attention" {
            h2 id="attention" {
                @match (urgent, matters.len()) {
                    (_, 0) => { (badge(Tone::Good, "nothing needs you")) }
                    (0, n) => { (badge(Tone::Warn, "needs a look")) " " (count(n)) }
                    (n, _) => { (badge(Tone::Bad, "needs you")) " " (count(n)) }
                }
            }
            @if !matters.is_empty() {
                ul.matters {
                    @for matter in matters.iter().take(MOST) {
                        li {
                            (badge(matter.tone, matter.kind)) " "
                            b { (matter.about) } " "
                            (said(matter))
                            @if let Some(next) = &matter.next { " " (next) }
                        }
                    }
                }
                @if matters.len() > MOST { p.small { "and " (count(matters.len() - MOST)) " more" } }
            }
        }
    }
}

fn said(matter: &Matter) -> Markup {
    html! { span { (words::lines(&serin_core::clipped(&matter.says, 600))) } }
}

/// The list on the page of the experiment that they are about, which has the links to what can be done.
pub fn draw_here(matters: &[Matter]) -> Markup {
    html! { @for matter in matters { p role=[(matter.tone == Tone::Bad).then_some("alert")] { (badge(matter.tone, matter.kind)) " " (said(matter)) } } }
}
