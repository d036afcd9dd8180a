//! `serin status`: what a running host thinks, on one screen.

use serde_json::{Value, json};

use super::experiment::stopped_by_host;
use super::{AdminArgs, Format, Outcome, message, text};

pub(super) fn run(args: &AdminArgs) -> Outcome {
    let client = args.client()?;
    let (ready, why) = client.get_any("/readyz")?;
    let deployment = client.get("/v1/deployment")?;
    let experiments = client.get("/v1/experiments")?["experiments"].take();
    let attention = client.get("/v1/attention").unwrap_or_default();
    let plugins = client.get("/v1/plugins")?["plugins"].take();
    let views = client.get("/v1/features")?["views"].take();
    let why_not = (ready != 200).then(|| text(&why["detail"]));
    if args.format == Format::Json {
        let all = json!({
            "ready": ready == 200, "why_not_ready": why_not, "deployment": deployment, "experiments": experiments,
            "plugins": plugins, "views": views, "not_applied": not_applied(&deployment, &experiments, &plugins),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(true);
    }
    match why_not {
        None => println!("ready, generation {}", deployment["generation"]),
        Some(why) => println!("NOT READY: {why}"),
    }
    show_points(&deployment);
    show_experiments(&experiments, &attention);
    show_artifacts(&deployment, &plugins);
    show_views(&views);
    let troubles = not_applied(&deployment, &experiments, &plugins);
    println!("\nNOT APPLIED{}", if troubles.is_empty() { "\n  nothing: the files are in force" } else { "" });
    troubles.iter().for_each(|trouble| println!("  {}", message(trouble, 4)));
    let warnings = list(&deployment["warnings"]);
    let of_experiments = list(&experiments).flat_map(|experiment| {
        list(&experiment["warnings"]).map(|warning| format!("{}: {}", text(&experiment["id"]), text(warning)))
    });
    let warnings: Vec<String> = warnings.map(text).chain(of_experiments).collect();
    if !warnings.is_empty() {
        println!("\nWARNINGS");
        warnings.iter().for_each(|warning| println!("  {warning}"));
    }
    Ok(true)
}

fn show_points(deployment: &Value) {
    println!("\n{:<28} {:<28} SERVED BY", "DECISION POINT", "PIN");
    for point in list(&deployment["decision_points"]) {
        let experiments: Vec<String> = list(&point["experiments"]).map(text).collect();
        let serves = match point["unready"].as_str() {
            Some(why) => format!("the fallback action: {}", serin_core::inert_line(why)),
            None if experiments.is_empty() => "the pin".to_owned(),
            None => format!("the pin, and in {}", experiments.join(", ")),
        };
        println!("  {:<26} {:<28} {serves}", text(&point["name"]), text(&point["strategy"]));
    }
}

fn show_experiments(experiments: &Value, attention: &Value) {
    println!("\n{:<28} {:<13} {:>8}  WHY", "EXPERIMENT", "STATE", "COVERAGE");
    for experiment in list(experiments) {
        let coverage = experiment["coverage"].as_f64().map_or_else(|| "-".to_owned(), |c| c.to_string());
        let [id, state, why] = ["id", "state", "why"].map(|key| text(&experiment[key]));
        println!("  {id:<26} {state:<13} {coverage:>8}  {why}");
        if let Some(stopped) = stopped_by_host(attention, &experiment["id"]) {
            println!("    {stopped}");
        }
    }
}

fn show_artifacts(deployment: &Value, plugins: &Value) {
    println!("\n{:<40} STATE", "PLUGIN");
    for plugin in list(plugins).filter(|plugin| plugin["state"] != "retired") {
        let name = match (plugin["name"].as_str(), plugin["version"].as_str()) {
            (Some(name), Some(version)) => format!("{name}@{version}"),
            _ => text(&plugin["file"]),
        };
        let stale = plugin["why"].as_str().map(|why| format!(": {}", serin_core::inert_line(why))).unwrap_or_default();
        println!("  {name:<38} {}{}{stale}", text(&plugin["state"]), signed_by(&plugin["signer"]));
    }
    for (i, model) in list(&deployment["models"]).enumerate() {
        if i == 0 {
            println!("\n{:<40} STATE", "MODEL");
        }
        let state = match (model["digest"].is_null(), model["stale"] == true) {
            (true, _) => "not loaded",
            (false, true) => "the last good one serves",
            (false, false) => "active",
        };
        let why = model["why"].as_str().map(|why| format!(": {}", serin_core::inert_line(why))).unwrap_or_default();
        println!("  {:<38} {state}{}{why}", text(&model["id"]), signed_by(&model["signer"]));
    }
}

/// Who signed a file, where somebody who is trusted did.
fn signed_by(signer: &Value) -> String {
    match signer["key"].as_str() {
        Some(key) => format!(", signed by {key} ({})", text(&signer["comment"])),
        None => String::new(),
    }
}

fn show_views(views: &Value) {
    for (i, view) in list(views).enumerate() {
        if i == 0 {
            println!("\n{:<28} {:<16} {:>8}  NEWEST ROW", "FEATURE VIEW", "ENTITY", "TTL");
        }
        let ttl = view["ttl_ms"].as_u64().map(|ms| humantime::format_duration(std::time::Duration::from_millis(ms)));
        let ttl = ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.to_string());
        let newest = match (view["newest"].as_str(), view["is_stale"] == true) {
            (None, _) => "no rows".to_owned(),
            (Some(at), true) => format!("{at}, older than its ttl: strategies get it as missing"),
            (Some(at), false) => at.to_owned(),
        };
        println!("  {:<26} {:<16} {ttl:>8}  {newest}", text(&view["name"]), text(&view["entity"]));
    }
}

/// What of the files is not in force, and why.
fn not_applied(deployment: &Value, experiments: &Value, plugins: &Value) -> Vec<String> {
    let keys = [
        "config_error",
        "tls_error",
        "plugins_error",
        "experiments_error",
        "archive_error",
        "ledger_error",
        "clock_doubt",
    ];
    let mut all: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(format!("{}: {}", key.split('_').next()?, deployment[key].as_str()?)))
        .collect();
    let restart: Vec<String> = list(&deployment["restart_required"]).map(text).collect();
    if !restart.is_empty() {
        all.push(format!("restart required: {}", restart.join(", ")));
    }
    for (of, key) in [(experiments, "file"), (plugins, "file"), (&deployment["models"], "id")] {
        let named = |item: &Value| match (item[key].is_null(), item["name"].as_str(), item["version"].as_str()) {
            // Only the archive has it.
            (true, Some(name), Some(version)) => format!("{name}@{version}"),
            (true, ..) => text(&item["digest"]),
            (false, ..) => text(&item[key]),
        };
        let wrong = list(of).filter_map(|item| Some(format!("{}: {}", named(item), item["error"].as_str()?)));
        all.extend(wrong);
    }
    let gone = list(experiments).filter(|experiment| experiment["state"] == "spec_missing");
    all.extend(gone.map(|experiment| format!("{}: {}", text(&experiment["file"]), text(&experiment["why"]))));
    all
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
