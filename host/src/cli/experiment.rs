//! `serin experiment list|show`.

use serde_json::Value;

use super::client::Client;
use super::{ExperimentCommand, Format, Outcome};

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
            if admin.format == Format::Json {
                println!("{}", serde_json::to_string_pretty(&experiment)?);
                return Ok(true);
            }
            for key in ["id", "state", "phase", "coverage", "why", "error"] {
                if !experiment[key].is_null() {
                    println!("{key:<16} {}", text(&experiment[key]));
                }
            }
            for arm in experiment["spec"]["arms"].as_array().into_iter().flatten() {
                println!(
                    "{:<16} {} = {} (weight {})",
                    "arm",
                    text(&arm["name"]),
                    text(&arm["strategy"]),
                    arm["weight"]
                );
            }
            for part in experiment["not_acted_upon"].as_array().into_iter().flatten() {
                println!("{:<16} {}", "not acted upon", text(part));
            }
        }
    }
    Ok(true)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
