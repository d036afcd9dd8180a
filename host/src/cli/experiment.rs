//! `serin experiment`: a client of the admin listener.

use serde_json::{Value, json};

use super::client::Client;
use super::{ChangeArgs, ExperimentCommand, Format, Outcome};

pub(super) fn run(command: ExperimentCommand) -> Outcome {
    match command {
        ExperimentCommand::List(args) => {
            let answer = Client::new(&args.admin).get("/v1/experiments")?;
            if args.format == Format::Json {
                println!("{}", serde_json::to_string_pretty(&answer)?);
                return Ok(true);
            }
            println!("{:<28} {:<13} {:>8}  WHY", "ID", "STATE", "COVERAGE");
            for experiment in answer["experiments"].as_array().into_iter().flatten() {
                let coverage = experiment["coverage"].as_f64().map_or_else(|| "-".to_owned(), |c| c.to_string());
                println!(
                    "{:<28} {:<13} {coverage:>8}  {}",
                    text(&experiment["id"]),
                    text(&experiment["state"]),
                    text(&experiment["why"])
                );
            }
        }
        ExperimentCommand::Show { id, admin } => {
            let experiment = Client::new(&admin.admin).get(&format!("/v1/experiments/{id}"))?;
            show(&experiment, admin.format)?;
        }
        ExperimentCommand::Start(change) => send(&change, "start", None)?,
        ExperimentCommand::Promote(change) => send(&change, "promote", None)?,
        ExperimentCommand::Pause(change) => send(&change, "pause", None)?,
        ExperimentCommand::Resume(change) => send(&change, "resume", None)?,
        ExperimentCommand::Abort(change) => send(&change, "abort", None)?,
        ExperimentCommand::Conclude { winner, change } => send(&change, "conclude", Some(winner))?,
    }
    Ok(true)
}

fn send(change: &ChangeArgs, command: &str, winner: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let mut body = json!({ "reason": change.reason, "by": change.by });
    if let Some(winner) = winner {
        body["winner"] = winner.into();
    }
    let path = format!("/v1/experiments/{}/{command}", change.id);
    show(&Client::new(&change.admin.admin).post(&path, &body)?, change.admin.format)
}

fn show(experiment: &Value, format: Format) -> Result<(), Box<dyn std::error::Error>> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(experiment)?);
        return Ok(());
    }
    for key in ["id", "state", "phase", "coverage", "why", "error"] {
        if !experiment[key].is_null() {
            println!("{key:<16} {}", text(&experiment[key]));
        }
    }
    for arm in experiment["spec"]["arms"].as_array().into_iter().flatten() {
        println!("{:<16} {} = {} (weight {})", "arm", text(&arm["name"]), text(&arm["strategy"]), arm["weight"]);
    }
    for part in experiment["not_acted_upon"].as_array().into_iter().flatten() {
        println!("{:<16} {}", "not acted upon", text(part));
    }
    for change in experiment["history"].as_array().into_iter().flatten() {
        println!(
            "{:<16} {}  {} -> {}, by {}: {}",
            text(&change["command"]),
            text(&change["at"]),
            text(&change["from"]),
            text(&change["to"]),
            text(&change["by"]),
            text(&change["reason"])
        );
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
