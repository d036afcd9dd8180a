//! What is loaded: plugins, models and feature views, and who uses them.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::shelf::Part;
use super::words::{self, Tone, badge, digest, grouped, percent, span, when};
use crate::http::admin::{loaded, why as why_served};
use crate::http::feature_views::{WireView, views};
use crate::http::models::{LoadedModel, WireModel, models as known};
use crate::http::usage::{WireUse, users};
use crate::http::{Problem, Service};
use crate::registry::{ArtifactState, ArtifactStatus};

/// Who uses a version.
fn listed(users: &[WireUse]) -> Markup {
    html! {
        @if users.is_empty() { span.small { "nobody" } }
        @for (at, user) in users.iter().enumerate() {
            @if at > 0 { br; }
            @match &user.experiment {
                None => { "pinned by " b { (user.decision_point) } }
                Some(id) => {
                    @if user.role == "shadow" { "shadow arm " } @else { "arm " }
                    b { (user.arm.as_deref().unwrap_or_default()) } " of " (words::experiment(id))
                }
            }
        }
    }
}

/// Who signed something, by key and comment. Where no key is trusted, no signature is looked at.
fn signed(service: &Service, signer: Option<[&str; 2]>) -> Markup {
    let unsigned = if service.status.load().has_trusted_keys { "not signed by a trusted key" } else { "not signed" };
    html! {
        @match signer {
            None => { span.small { (unsigned) } }
            Some([key, comment]) => { code { (key) } @if !comment.is_empty() { br; span.small { (comment) } } }
        }
    }
}

/// The plugins' parts.
pub fn plugins(service: &Service) -> Vec<Part> {
    let (users, active) = (users(service), service.folder.active());
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
                td data-label="used by" { (listed(name.and_then(|name| users.get(&name)).map_or(&[], Vec::as_slice))) }
                td data-label="loaded" { (when(plugin.loaded_at_ms)) }
                td data-label="signed by" { (signed(service, plugin.signer.as_ref().map(|signer| [&*signer.key, &*signer.comment]))) }
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
    vec![Part::new("plugins", table)]
}

/// The models' parts.
pub fn models(service: &Service) -> Vec<Part> {
    let models = known(service);
    let all = html! {
        @if models.is_empty() { p { "serin.toml declares no models." } }
        @for known in &models { (model(service, known)) }
    };
    vec![Part::new("models", all)]
}

fn model(service: &Service, model: &WireModel) -> Markup {
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
                span { "signed by " (signed(service, signer)) }
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
pub fn features(service: &Service) -> Result<Vec<Part>, Problem> {
    let views = views(service)?;
    let table = html! {
        @if views.is_empty() { p { "serin.toml declares no feature views." } }
        @else {
            div.wide { table.cards.stack {
                thead { tr {
                    th scope="col" { "view" } th scope="col" { "state" } th scope="col" { "newest value" }
                    th scope="col" { "read by" } th.n scope="col" { "decisions" } th scope="col" { "columns" }
                } }
                tbody { @for view in &views { (view_row(view)) } }
            } }
            @for view in views.iter().filter(|view| !view.missing.is_empty()) { (columns(view)) }
            p.small {
                "Shares of the decisions of the last minutes that asked for the column. Missing: there was no value, whether or \
                 not something took its place. Defaulted: the value was missing, and the default of a manifest took its place. \
                 Stale: the value was older than the view or the manifest allows."
            }
        }
    };
    Ok(vec![Part::new("features", table)])
}

/// What was not as it should be of the columns that decisions asked for, those that were missing most often first.
fn columns(view: &WireView) -> Markup {
    let mut asked: Vec<(&String, &f64)> = view.missing.iter().collect();
    asked.sort_by(|one, other| other.1.total_cmp(one.1));
    let share = |of: &BTreeMap<String, f64>, column: &str| percent(of.get(column).copied().unwrap_or_default());
    html! {
        section {
            h2 { (view.name) " in decisions" }
            div.wide { table.cards.stack {
                thead { tr {
                    th scope="col" { "column" } th.n scope="col" { "missing" } th.n scope="col" { "defaulted" }
                    th.n scope="col" { "stale" } th.n scope="col" { "not read" }
                } }
                tbody { @for (column, missing) in asked {
                    tr {
                        th scope="row" { code { (column) } }
                        td.n data-label="missing" { (percent(*missing)) }
                        td.n data-label="defaulted" { (share(&view.defaulted, column)) }
                        td.n data-label="stale" { (share(&view.stale, column)) }
                        td.n data-label="not read" { (share(&view.error, column)) }
                    }
                } }
            } }
        }
    }
}

fn view_row(view: &WireView) -> Markup {
    let (tone, state) = match view.newest_ms {
        None => (Tone::Warn, "no rows"),
        Some(_) if view.is_stale => (Tone::Bad, "stale"),
        Some(_) => (Tone::Good, "fresh"),
    };
    html! {
        tr {
            th scope="row" { (view.name) br; span.small { "of each " (view.entity) } }
            td data-label="state" { (badge(tone, state)) }
            td data-label="newest value" {
                @if let Some(at_ms) = view.newest_ms { (when(at_ms)) } @else { "-" }
                @if let Some(ttl_ms) = view.ttl_ms { br; span.small { "may be " (span(ttl_ms)) " old" } }
            }
            td data-label="read by" {
                @match (view.decision_points.as_slice(), view.analysis_only) {
                    ([], true) => { span.small { "analyses alone" } }
                    ([], false) => { span.small { "nobody" } }
                    (points, _) => { (points.join(", ")) }
                }
            }
            td.n data-label="decisions" { (grouped(view.decisions)) }
            td data-label="columns" {
                details {
                    summary { (grouped(view.columns.len() as u64)) }
                    @for (name, kind) in &view.columns { code { (name) } span.small { " " (kind) } br; }
                }
            }
        }
    }
}
