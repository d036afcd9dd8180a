//! `serin outcomes load`: a file of outcomes, given to a running host in batches. `serin outcomes
//! watermark`: up to when they are complete.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::credential::CredentialArgs;
use super::{Outcome, progress};
use crate::features::ClosedQuotes;

/// Outcomes of one request: the host takes no more.
const BATCH: usize = 10_000;
/// Refused lines that are printed; all are counted.
const SHOWN: usize = 20;

#[derive(Subcommand)]
pub(super) enum OutcomesCommand {
    /// Give a running host a file of outcomes; a bad line is named, and the others are stored
    Load {
        /// A CSV file with the columns id, name, value, at, reverses, and decision_id or entity_kind and entity
        file: PathBuf,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Tell a running host that all outcomes of a name that happened up to a time have been posted
    Watermark {
        /// The outcomes' name
        name: String,
        /// The time, RFC 3339, like 2026-11-23T07:00:00Z; not in the future
        time: String,
        #[command(flatten)]
        host: HostArgs,
    },
}

/// Which listener of a host takes the outcomes: both do.
#[derive(Args)]
pub(super) struct HostArgs {
    /// The public listener [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The admin listener, in place of the public one
    #[arg(long, value_name = "URL", env = "SERIN_ADMIN", hide_env_values = true)]
    admin: Option<String>,
    #[command(flatten)]
    credential: CredentialArgs,
}

impl HostArgs {
    fn client(&self) -> Result<Client, String> {
        self.credential.client(self.url.as_deref().or(self.admin.as_deref()).unwrap_or("http://127.0.0.1:8080"))
    }
}

/// Carries out a command.
pub(super) fn run(command: &OutcomesCommand) -> Outcome {
    match command {
        OutcomesCommand::Load { file, host } => load(file, host),
        OutcomesCommand::Watermark { name, time, host } => watermark(name, time, host),
    }
}

/// A line of the file. Empty is as if it were not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    name: Option<String>,
    value: Option<String>,
    at: Option<String>,
    decision_id: Option<String>,
    entity_kind: Option<String>,
    entity: Option<String>,
    reverses: Option<String>,
}

impl Line {
    fn outcome(self) -> Result<Value, String> {
        let mut outcome = Map::new();
        outcome.insert("id".to_owned(), self.id.into());
        let texts =
            [("name", self.name), ("at", self.at), ("decision_id", self.decision_id), ("reverses", self.reverses)];
        for (key, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                outcome.insert(key.to_owned(), text.into());
            }
        }
        if let Some(text) = self.value.filter(|text| !text.is_empty()) {
            let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            let value = value.ok_or_else(|| format!("value: '{text}' is not a finite number"))?;
            outcome.insert("value".to_owned(), value.into());
        }
        match (self.entity_kind.filter(|t| !t.is_empty()), self.entity.filter(|t| !t.is_empty())) {
            (Some(kind), Some(entity)) => drop(outcome.insert("entity".to_owned(), json!({ kind: entity }))),
            (None, None) => {}
            _ => return Err("entity_kind and entity go together".to_owned()),
        }
        Ok(Value::Object(outcome))
    }
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    stored: u64,
    duplicates: u64,
    unknown: u64,
    /// Lines of unknown decisions that were named.
    unknown_shown: usize,
    refused: u64,
    /// Warnings that were printed: each batch repeats them.
    warned: HashSet<String>,
}

impl Tally {
    fn refuse(&mut self, line: u64, why: &str) {
        self.refused += 1;
        if self.refused <= SHOWN as u64 {
            eprintln!("line {line}: {}", serin_core::inert_line(why));
        }
    }

    /// A line that no parser can find the end of, and which is named in `why`.
    fn broken(&mut self, why: &str) {
        self.refused += 1;
        eprintln!("{}; it and what follows was not read", serin_core::inert_line(why));
    }

    /// Sends a batch; each outcome is answered for itself.
    fn send(&mut self, client: &Client, batch: &mut Vec<(u64, Value)>) -> Result<(), Box<dyn std::error::Error>> {
        if batch.is_empty() {
            return Ok(());
        }
        let (lines, outcomes): (Vec<u64>, Vec<Value>) = batch.drain(..).unzip();
        let answer = client.post("/v1/outcomes", &json!({ "outcomes": outcomes }))?;
        let count = |key: &str| answer[key].as_u64().unwrap_or(0);
        self.stored += count("stored");
        self.duplicates += count("duplicates");
        self.unknown += count("unknown_decisions");
        for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if self.warned.insert(warning.to_owned()) {
                eprintln!("warning: {}", serin_core::inert_line(warning));
            }
        }
        for index in answer["unknown_at"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
            self.unknown_shown += 1;
            if self.unknown_shown <= SHOWN
                && let Some(line) = lines.get(index as usize)
            {
                eprintln!("line {line}: stored, though no decision of its decision_id is known");
            }
        }
        for refused in answer["refused"].as_array().into_iter().flatten() {
            let line = refused["index"].as_u64().and_then(|index| lines.get(index as usize)).copied().unwrap_or(0);
            self.refuse(line, refused["why"].as_str().unwrap_or_default());
        }
        Ok(())
    }
}

/// Loads a file. Whatever is right in it is stored; what is not is named by its line.
fn load(file: &Path, host: &HostArgs) -> Outcome {
    let text = std::fs::File::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(ClosedQuotes::new(text));
    let headers = reader.headers().map_err(|e| format!("{}: {e}", file.display()))?.clone();
    let known = ["id", "name", "value", "at", "decision_id", "entity_kind", "entity", "reverses"];
    if let Some(odd) = headers.iter().find(|name| !known.contains(name)) {
        return Err(format!("{}: column '{odd}' is not known; valid: {}", file.display(), known.join(", ")).into());
    }
    if !headers.iter().any(|name| name == "id") {
        return Err(format!("{}: there is no column 'id'; valid: {}", file.display(), known.join(", ")).into());
    }
    let (client, bar, mut tally) = (host.client()?, progress(None, "outcomes"), Tally::default());
    let mut batch = Vec::with_capacity(BATCH);
    let mut record = csv::StringRecord::new();
    let mut rows = 0_u64;
    loop {
        let byte = reader.position().byte();
        let read = reader.read_record(&mut record);
        let line = reader.get_mut().line_of_row(byte);
        rows += u64::from(matches!(read, Ok(true)));
        match read {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) if error.is_io_error() => {
                tally.broken(&error.to_string());
                break;
            }
            Err(error) => {
                tally.refuse(line, &error.to_string());
                continue;
            }
        }
        let parsed = if record.len() == headers.len() {
            record.deserialize::<Line>(Some(&headers)).map_err(|e| e.to_string()).and_then(Line::outcome)
        } else {
            Err(format!("{} values; there are {} columns", record.len(), headers.len()))
        };
        match parsed {
            Ok(outcome) => batch.push((line, outcome)),
            Err(why) => tally.refuse(line, &why),
        }
        if batch.len() == BATCH {
            tally.send(&client, &mut batch)?;
            bar.inc(BATCH as u64);
        }
    }
    tally.send(&client, &mut batch)?;
    bar.finish_and_clear();
    if tally.refused > SHOWN as u64 {
        eprintln!("and {} lines more", tally.refused - SHOWN as u64);
    }
    println!(
        "{} stored, {} there already, {} of unknown decisions, {} refused",
        tally.stored, tally.duplicates, tally.unknown, tally.refused
    );
    if rows == 0 && tally.refused == 0 {
        eprintln!("warning: {}: no rows below its header", crate::files::shown(file));
    }
    Ok(tally.refused == 0)
}

/// Posts a watermark.
fn watermark(name: &str, time: &str, host: &HostArgs) -> Outcome {
    let body = json!({ "watermarks": [{ "name": name, "time": time }] });
    let answer = host.client()?.post("/v1/outcomes/watermarks", &body)?;
    if let Some(why) = answer["refused"][0]["why"].as_str() {
        eprintln!("serin: {}", serin_core::inert_line(why));
        return Ok(false);
    }
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {}", serin_core::inert(warning));
    }
    match answer["stored"].as_u64() {
        Some(1) => println!("stored: all outcomes '{name}' up to {time} have been posted"),
        _ => println!("unchanged: there is a watermark of '{name}' as new as {time}"),
    }
    Ok(true)
}
