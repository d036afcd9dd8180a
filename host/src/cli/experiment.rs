//! `serin experiment`: a client of the admin listener.

use serde_json::{Value, json};
use serin_core::numbers::counted;

use super::{AdminArgs, ChangeArgs, ExperimentCommand, Format, Outcome, WhyArgs, message, text};

pub(super) fn run(command: ExperimentCommand) -> Outcome {
    match command {
        ExperimentCommand::List(args) => {
            let client = args.client()?;
            let answer = client.get("/v1/experiments")?;
            if args.format == Format::Json {
                println!("{}", serde_json::to_string_pretty(&answer)?);
                return Ok(true);
            }
            // A host of an earlier version has none.
            let matters = client.get("/v1/attention").unwrap_or_default();
            println!("{:<28} {:<13} {:>8}  WHY", "ID", "STATE", "COVERAGE");
            for experiment in answer["experiments"].as_array().into_iter().flatten() {
                let coverage = experiment["coverage"].as_f64().map_or_else(|| "-".to_owned(), |c| c.to_string());
                println!(
                    "{:<28} {:<13} {coverage:>8}  {}",
                    text(&experiment["id"]),
                    text(&experiment["state"]),
                    text(&experiment["why"])
                );
                if let Some(stopped) = stopped_by_host(&matters, &experiment["id"]) {
                    println!("  {stopped}");
                }
                let error = experiment["error"].as_str().unwrap_or_default();
                if !experiment["why"].as_str().is_some_and(|why| why.contains(error)) {
                    println!("  {}: {}", text(&experiment["file"]), message(error, 4));
                }
                for warning in experiment["warnings"].as_array().into_iter().flatten() {
                    println!("  warning: {}", text(warning));
                }
            }
        }
        ExperimentCommand::Show { id, admin } => {
            let experiment = admin.client()?.get(&format!("/v1/experiments/{id}"))?;
            show(&experiment, admin.format)?;
        }
        ExperimentCommand::Affected { id, arm, admin } => affected(&id, arm.as_deref(), &admin)?,
        ExperimentCommand::Start(change) => send(&change, "start", None)?,
        ExperimentCommand::Promote(change) => send(&change, "promote", None)?,
        ExperimentCommand::Pause(change) => send(&change, "pause", None)?,
        ExperimentCommand::Resume(change) => send(&change, "resume", None)?,
        ExperimentCommand::Abort(change) => send(&change, "abort", None)?,
        ExperimentCommand::Plan(args) => return super::plan::run(&args),
        ExperimentCommand::Approve(change) => send(&change, "approve", None)?,
        ExperimentCommand::Amend(change) => send(&change, "amend", None)?,
        ExperimentCommand::Conclude { winner, change } => send(&change, "conclude", Some(winner))?,
    }
    Ok(true)
}

/// That the host itself has stopped an experiment, and why, from what needs a person.
pub(super) fn stopped_by_host(attention: &Value, id: &Value) -> Option<String> {
    let matters = attention["matters"].as_array()?.iter().filter(|matter| matter["experiment"] == *id);
    let mut stops = matters.filter(|matter| matter["kind"].as_str().is_some_and(|kind| kind.ends_with(" by the host")));
    stops.next().map(|stop| format!("{}: {}", text(&stop["kind"]), text(&stop["says"])))
}

pub(super) fn freeze(why: &WhyArgs) -> Outcome {
    let body = json!({ "reason": why.reason, "by": why.by });
    let answer = why.admin.client()?.post("/v1/freeze", &body)?;
    if why.admin.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(true);
    }
    let paused: Vec<String> = answer["paused"].as_array().into_iter().flatten().map(text).collect();
    println!("paused: {}", if paused.is_empty() { "none was running".to_owned() } else { paused.join(", ") });
    Ok(true)
}

/// One line a unit, as they come: there may be more of them than fit into memory.
fn affected(id: &str, arm: Option<&str>, admin: &AdminArgs) -> Result<(), Box<dyn std::error::Error>> {
    let client = admin.client()?;
    let mut after: Option<String> = None;
    loop {
        let query = [("arm", arm), ("after", after.as_deref())]
            .into_iter()
            .filter_map(|(key, value)| Some(format!("&{key}={}", encoded(value?))))
            .collect::<String>();
        let page = client.get(&format!("/v1/experiments/{id}/affected?limit=10000{query}"))?;
        for unit in page["units"].as_array().into_iter().flatten() {
            if admin.format == Format::Json {
                println!("{unit}");
                continue;
            }
            let list = |key: &str| unit[key].as_array().cloned().unwrap_or_default();
            let outcomes: Vec<String> = list("outcomes").iter().map(affected_outcome).collect();
            let decisions = list("decisions");
            let last = decisions.last().map(text).unwrap_or_default();
            println!(
                "{:<24} {:<16} {:>14}, the last {last}  {}",
                text(&unit["unit"]),
                text(&unit["arm"]),
                counted(unit["decision_count"].as_u64().unwrap_or(0), "decision"),
                outcomes.join(" ")
            );
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// An outcome, and whether it still stands.
fn affected_outcome(outcome: &Value) -> String {
    let taken_back = match outcome["taken_back_by"].as_str() {
        Some(by) => format!("(taken back by {})", serin_core::inert_line(by)),
        None => String::new(),
    };
    format!("{}={}{taken_back}", text(&outcome["name"]), outcome["value"])
}

/// A query's value: what could end it is written as its bytes.
pub(super) fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => all.push(char::from(byte)),
            _ => all.push_str(&format!("%{byte:02X}")),
        }
        all
    })
}

fn send(change: &ChangeArgs, command: &str, winner: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let mut body = json!({ "reason": change.why.reason, "by": change.why.by });
    if let Some(winner) = winner {
        body["winner"] = winner.into();
    }
    let path = format!("/v1/experiments/{}/{command}", change.id);
    let client = change.why.admin.client()?;
    let answer = match change.generation {
        Some(generation) => client.post_if_match(&path, generation, &body)?,
        None => client.post(&path, &body)?,
    };
    show(&answer, change.why.admin.format)?;
    if command == "conclude" && change.why.admin.format == Format::Text {
        how_to_pin(&answer);
    }
    Ok(())
}

/// Says what `serin.toml` needs for everybody to have what won: the arm's parameters, too.
fn how_to_pin(experiment: &Value) {
    let (spec, winner) = (&experiment["spec"], &experiment["winner"]);
    let arms = spec["arms"].as_array();
    let Some(arm) = arms.and_then(|arms| arms.iter().find(|arm| arm["name"] == *winner)) else { return };
    println!("\nto serve it to everybody, in serin.toml:\n[decision_points.{}]", text(&spec["decision_point"]));
    println!("strategy = \"{}\"", text(&arm["strategy"]));
    if let Some(parameters) = inline_table(&arm["parameters"]) {
        println!("parameters = {parameters}");
    }
}

/// Values as TOML has them in one line; none where there are none.
fn inline_table(values: &Value) -> Option<String> {
    let values = values.as_object().filter(|values| !values.is_empty())?;
    let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Some(serin_core::inert_line(&format!("{{ {} }}", values.join(", "))))
}

/// From which state to which; of a promotion, to which coverage.
fn what_changed(change: &Value, spec: &Value) -> String {
    let (from, to) = (text(&change["from"]), text(&change["to"]));
    let state = if from == to { to } else { format!("{from} -> {to}") };
    let phase = change["phase"].as_u64().filter(|_| change["command"] == "promote");
    let coverage =
        phase.and_then(|phase| spec["ramp"][usize::try_from(phase.checked_sub(1)?).ok()?]["coverage"].as_f64());
    match (phase, coverage) {
        (Some(phase), Some(coverage)) => format!("{state}, phase {phase}: coverage {coverage}"),
        _ => state,
    }
}

fn show(experiment: &Value, format: Format) -> Result<(), Box<dyn std::error::Error>> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(experiment)?);
        return Ok(());
    }
    for key in ["id", "state", "phase", "coverage", "generation", "why"] {
        if !experiment[key].is_null() {
            println!("{key:<16} {}", text(&experiment[key]));
        }
    }
    if let Some(error) = experiment["error"].as_str() {
        println!("{:<16} {}", "error", message(error, 17));
    }
    for warning in experiment["warnings"].as_array().into_iter().flatten() {
        println!("{:<16} {}", "warning", text(warning));
    }
    for arm in experiment["spec"]["arms"].as_array().into_iter().flatten() {
        let (name, strategy) = (text(&arm["name"]), text(&arm["strategy"]));
        let parameters = inline_table(&arm["parameters"]).map(|table| format!(", parameters = {table}"));
        println!("{:<16} {name} = {strategy} (weight {}{})", "arm", arm["weight"], parameters.unwrap_or_default());
    }
    for shadow in experiment["spec"]["shadows"].as_array().into_iter().flatten() {
        println!(
            "{:<16} {} = {} (on {})",
            "shadow",
            text(&shadow["name"]),
            text(&shadow["strategy"]),
            shadow["sample"]
        );
    }
    for approval in experiment["approvals"].as_array().into_iter().flatten() {
        println!(
            "{:<16} {}  by {}: {} ({})",
            "approved",
            text(&approval["at"]),
            text(&approval["by"]),
            text(&approval["reason"]),
            text(&approval["spec_digest"])
        );
    }
    for change in experiment["pending"]["changes"].as_array().into_iter().flatten() {
        let value = |key: &str| serin_core::inert_line(change[key].as_str().unwrap_or("none"));
        let (key, effect) = (value("key"), value("effect"));
        println!("{:<16} {key} {} -> {} ({effect})", "pending", value("old"), value("new"));
    }
    if experiment["lacks"].is_string() {
        println!("{:<16} {}", "lacks", text(&experiment["lacks"]));
    }
    for change in experiment["history"].as_array().into_iter().flatten() {
        println!(
            "{:<16} {}  {}, by {}: {}",
            text(&change["command"]),
            text(&change["at"]),
            what_changed(change, &experiment["spec"]),
            text(&change["by"]),
            text(&change["reason"])
        );
    }
    Ok(())
}
