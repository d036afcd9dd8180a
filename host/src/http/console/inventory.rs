//! What is loaded: plugins, models and feature views, and who uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};

use super::shelf::Part;
use super::words::{self, Tone, badge, digest, grouped, percent, span, when};
use crate::decide::{DeploymentSnapshot, Point};
use crate::deployment::ViewSpec;
use crate::features::StoreError;
use crate::http::access::Caller;
use crate::http::admin::{loaded, why as why_served};
use crate::http::models::{LoadedModel, WireModel, models as known};
use crate::http::traffic::Served;
use crate::http::{Problem, Service};
use crate::registry::{ArtifactState, ArtifactStatus};

/// Who uses a version: decision points and arms of experiments, by the version's name.
fn users(service: &Service, deployment: &DeploymentSnapshot) -> BTreeMap<String, Vec<Markup>> {
    let mut users: BTreeMap<String, Vec<Markup>> = BTreeMap::new();
    let mut points: Vec<_> = deployment.points.values().collect();
    points.sort_by_key(|point| point.name.clone());
    for point in points {
        users.entry(point.pin.to_string()).or_default().push(html! { "pinned by " b { (point.name) } });
    }
    let status = service.status.load();
    for experiment in status.experiments.iter().filter(|known| !known.status.state.is_ended()) {
        let Some(spec) = &experiment.spec else { continue };
        let shadows = spec.shadows.iter().map(|shadow| (&shadow.arm, "shadow arm"));
        for (arm, role) in spec.arms.iter().map(|arm| (arm, "arm")).chain(shadows) {
            let user = html! { (role) " " b { (arm.name) } " of " (words::experiment(&spec.id)) };
            users.entry(arm.strategy.to_string()).or_default().push(user);
        }
    }
    users
}

fn listed(users: Option<&Vec<Markup>>) -> Markup {
    html! {
        @match users {
            None => { span.small { "nobody" } }
            Some(users) => { @for (at, user) in users.iter().enumerate() { @if at > 0 { br; } (user) } }
        }
    }
}

/// Who signed something, by key and comment.
fn signed(signer: Option<[&str; 2]>) -> Markup {
    html! {
        @match signer {
            None => { span.small { "nobody who is trusted" } }
            Some([key, comment]) => { code { (key) } @if !comment.is_empty() { br; span.small { (comment) } } }
        }
    }
}

/// The plugins' parts.
pub fn plugins(service: &Service, caller: &Caller) -> Result<Vec<Part>, Problem> {
    caller.reaches_all("plugins")?;
    let deployment = service.deployment.load();
    let (users, active) = (users(service, &deployment), service.folder.active());
    let mut all = service.folder.statuses();
    let rank = |plugin: &ArtifactStatus| match plugin.state {
        ArtifactState::Failed => 0,
        ArtifactState::Loading => 1,
        _ => 2,
    };
    all.sort_by_key(|plugin| (rank(plugin), plugin.pin.as_ref().map(ToString::to_string), plugin.file.clone()));
    let row = |plugin: &ArtifactStatus| {
        let name = plugin.pin.as_ref().map(ToString::to_string);
        let loaded = loaded(&active, plugin);
        let manifest = loaded.map(|loaded| loaded.manifest());
        let resting = loaded.and_then(|loaded| loaded.breaker.is_open(service.clock.now_ms()));
        let tone = match plugin.state {
            ArtifactState::Failed => Tone::Bad,
            ArtifactState::Loading => Tone::Warn,
            ArtifactState::Active => Tone::Good,
            ArtifactState::Retired => Tone::Open,
        };
        html! {
            tr {
                th scope="row" {
                    (name.as_deref().or(plugin.file.as_deref()).unwrap_or("unknown"))
                    @if let Some(text) = manifest.map(|m| &m.description).filter(|text| !text.is_empty()) { br; span.small { (text) } }
                    @if let Some(owner) = manifest.map(|m| &m.owner).filter(|owner| !owner.is_empty()) { br; span.small { "owner " (owner) } }
                }
                td data-label="state" {
                    (badge(tone, plugin.state.as_str()))
                    @if let Some(why) = resting { br; (badge(Tone::Bad, "breaker open")) span.small { " " (why) } }
                    @if let Some(error) = &plugin.error { br; span.is-bad { (words::lines(error)) } }
                    @if let Some(why) = why_served(plugin.stale, plugin.unsigned.clone()) { br; span.small { (why) } }
                }
                td data-label="used by" { (listed(name.and_then(|name| users.get(&name)))) }
                td data-label="loaded" { (when(plugin.loaded_at_ms)) }
                td data-label="signed by" { (signed(plugin.signer.as_ref().map(|signer| [&*signer.key, &*signer.comment]))) }
                td data-label="digest" { (digest(&plugin.digest)) @if let Some(wit) = &plugin.wit { br; span.small { "wit " (wit) } } }
            }
        }
    };
    let table = html! {
        @if all.is_empty() { p { "The plugins folder is empty." } }
        @else {
            div.wide { table.cards.stack {
                thead { tr {
                    th scope="col" { "version" } th scope="col" { "state" } th scope="col" { "used by" }
                    th scope="col" { "loaded" } th scope="col" { "signed by" } th scope="col" { "digest" }
                } }
                tbody { @for plugin in &all { (row(plugin)) } }
            } }
        }
    };
    Ok(vec![Part::new("plugins", table)])
}

/// The models' parts.
pub fn models(service: &Service, caller: &Caller) -> Result<Vec<Part>, Problem> {
    caller.reaches_all("models")?;
    let models = known(service);
    let all = html! {
        @if models.is_empty() { p { "serin.toml declares no models." } }
        @for known in &models { (model(known)) }
    };
    Ok(vec![Part::new("models", all)])
}

fn model(model: &WireModel) -> Markup {
    let tone = match model.state {
        "failed" => Tone::Bad,
        "from_archive" | "as_before" => Tone::Warn,
        "in_force" => Tone::Good,
        _ => Tone::Open,
    };
    let signer = model.signer.as_ref().map(|signer| [&*signer.key, &*signer.comment]);
    html! {
        section.model {
            h2 { (model.id) " " (badge(tone, model.state)) }
            @if let Some(error) = &model.error { p.is-bad role="alert" { (words::lines(error)) } }
            @if let Some(why) = &model.why { p { (badge(Tone::Warn, "signature")) " " (why) } }
            @if let Some(loaded) = &model.loaded { (in_force(loaded)) }
            p.facts {
                @if let Some(found) = &model.digest { span { "digest " (digest(found)) } " " }
                span { "signed by " (signed(signer)) }
            }
            @if let Some(card) = model.loaded.as_ref().and_then(|loaded| loaded.card.as_deref()) {
                details { summary { "Model card" } pre { (card) } }
            }
        }
    }
}

fn in_force(model: &LoadedModel) -> Markup {
    html! {
        p {
            (badge(Tone::Good, "golden scores agree")) " " (grouped(model.golden.rows))
            " rows, each within " (model.golden.tolerance) " of the score that it was exported with."
            @if model.breaker_open { " " (badge(Tone::Bad, "breaker open")) " runs ended too late again and again." }
            @else if model.slow { " " (badge(Tone::Warn, "slow")) " decisions may wait for it." }
        }
        p { "Used at: " @if model.decision_points.is_empty() { "no decision point" } @else { (model.decision_points.join(", ")) } ". Inputs: "
            @for (at, input) in model.inputs.iter().enumerate() { @if at > 0 { ", " } code { (input) } } "." }
    }
}

/// The feature views' parts.
pub fn features(service: &Service, caller: &Caller) -> Result<Vec<Part>, Problem> {
    let (deployment, served) = (service.deployment.load(), service.traffic.served(&service.metrics));
    let now_ms = service.clock.now_ms();
    let kinds = caller.kinds(service);
    let mut views: Vec<_> = deployment.views.values().collect();
    views.retain(|view| kinds.as_ref().is_none_or(|kinds| kinds.contains(&view.entity)));
    views.sort_by(|one, other| one.name.cmp(&other.name));
    let newest: Result<Vec<_>, StoreError> = views.iter().map(|view| service.store.newest(&view.name)).collect();
    let newest =
        newest.map_err(|_| Problem::unavailable("features-unavailable", "the feature store did not answer"))?;
    let table = html! {
        @if views.is_empty() { p { "serin.toml declares no feature views." } }
        @else {
            div.wide { table.cards.stack {
                thead { tr {
                    th scope="col" { "view" } th scope="col" { "state" } th scope="col" { "newest value" } th scope="col" { "read at" }
                    th scope="col" { "missing" } th scope="col" { "stale" } th scope="col" { "columns" }
                } }
                tbody { @for (view, newest_ms) in views.iter().zip(newest) {
                        @let is_stale = newest_ms.is_some_and(|newest_ms| view.is_stale(newest_ms, now_ms));
                        (view_row(view, newest_ms, is_stale, &ReadAt::of(view, &deployment, &served)))
                    } }
            } }
            p.small { "Missing and stale: shares of the decisions of the last minutes at the points that read the view." }
        }
    };
    Ok(vec![Part::new("features", table)])
}

/// Where a view is read, and what was not as it should be there lately.
struct ReadAt<'s> {
    points: Vec<String>,
    decisions: u64,
    /// By column and kind of trouble.
    trouble: Vec<(&'s str, &'s str, u64)>,
}

impl<'s> ReadAt<'s> {
    fn of(view: &ViewSpec, deployment: &DeploymentSnapshot, served: &'s Served) -> Self {
        let reads = |point: &&Arc<Point>| point.union.iter().any(|read| read.spec.name == view.name);
        let mut points: Vec<String> =
            deployment.points.values().filter(reads).map(|point| point.name.to_string()).collect();
        points.sort_unstable();
        let decisions = points.iter().map(|name| served.points.get(name).map_or(0, |point| point.decisions)).sum();
        let of_view = served.degraded.iter().filter_map(|(what, n)| {
            let rest = what.strip_prefix("feature:")?.strip_prefix(&*view.name)?.strip_prefix('.')?;
            let (column, kind) = rest.rsplit_once(':')?;
            Some((column, kind, *n))
        });
        let mut trouble: Vec<_> = of_view.collect();
        trouble.sort_by_key(|(.., n)| std::cmp::Reverse(*n));
        Self { points, decisions, trouble }
    }

    /// The columns that were most often so, each with its share of decisions.
    fn shares(&self, asked: &str) -> Markup {
        let mut of_kind = self.trouble.iter().filter(|(_, kind, _)| *kind == asked).peekable();
        html! {
            @if self.decisions == 0 { "-" }
            @else if of_kind.peek().is_none() { "0 %" }
            @else {
                @for (at, (column, _, n)) in of_kind.take(3).enumerate() {
                    @if at > 0 { br; }
                    (percent(*n as f64 / self.decisions as f64)) span.small { " " (column) }
                }
            }
        }
    }
}

fn view_row(view: &ViewSpec, newest_ms: Option<u64>, is_stale: bool, read_at: &ReadAt<'_>) -> Markup {
    let (tone, state) = match newest_ms {
        None => (Tone::Warn, "no rows"),
        Some(_) if is_stale => (Tone::Bad, "stale"),
        Some(_) => (Tone::Good, "fresh"),
    };
    html! {
        tr {
            th scope="row" { (view.name) br; span.small { "of each " (view.entity) } }
            td data-label="state" { (badge(tone, state)) }
            td data-label="newest value" {
                @if let Some(at_ms) = newest_ms { (when(at_ms)) } @else { "-" }
                @if let Some(ttl_ms) = view.ttl_ms { br; span.small { "may be " (span(ttl_ms)) " old" } }
            }
            td data-label="read at" {
                @match (read_at.points.as_slice(), view.analysis_only) {
                    ([], true) => { span.small { "analyses alone" } }
                    ([], false) => { span.small { "nowhere" } }
                    (points, _) => { (points.join(", ")) }
                }
            }
            td data-label="missing" { (read_at.shares("missing")) }
            td data-label="stale" { (read_at.shares("stale")) }
            td data-label="columns" {
                details {
                    summary { (grouped(view.columns.len() as u64)) }
                    @for (name, kind) in &view.columns { code { (name) } span.small { " " (kind) } br; }
                }
            }
        }
    }
}
