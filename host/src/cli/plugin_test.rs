//! `serin plugin test` and `serin plugin case`: cases as files, run in the host's own sandbox.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::value::RawValue;
use serin_core::case::{Case, CaseCall, Expectation};
use serin_core::manifest::{CONTEXT_VIEW, Manifest};
use serin_core::record::{Outcome as Came, Record};
use serin_core::value::Value;
use serin_core::{bounds, printable, printable_to};
use similar::{ChangeTag, TextDiff};

use super::build::{BuildOptions, make};
use super::client::Client;
use super::{Outcome, caches};
use crate::files;
use crate::registry::{CaseResult, Plugin, Watcher, check_case, files_in, read_file};
use crate::sandbox::Engines;

type Failure = Box<dyn std::error::Error>;

/// A case and its file.
struct File {
    path: PathBuf,
    case: Case,
}

pub(super) fn run(dir: &Path, update: bool, watch: bool, junit: Option<&Path>) -> Outcome {
    let engines = caches::engines()?;
    if !watch {
        return once(&engines, dir, update, junit);
    }
    let (wake, events) = crossbeam_channel::bounded::<()>(1);
    let folders: Vec<PathBuf> =
        ["", "src", "cases"].iter().map(|folder| dir.join(folder)).filter(|folder| folder.is_dir()).collect();
    // A wake that is waiting already covers this change, too.
    let _watcher = Watcher::new(&folders, move || {
        let _ = wake.try_send(());
    })?;
    loop {
        if let Err(error) = once(&engines, dir, false, junit) {
            eprintln!("{error}");
        }
        println!("-- waits for a change; Ctrl-C ends it");
        // What the build itself wrote is no change.
        while events.try_recv().is_ok() {}
        events.recv()?;
    }
}

fn once(engines: &Engines, dir: &Path, update: bool, junit: Option<&Path>) -> Outcome {
    let parts = make(dir, BuildOptions { quiet: true })?;
    let built = parts.package()?;
    let bytes = read_file(&built.path).map_err(|e| format!("{}: {e}", built.path.display()))?;
    let plugin = Plugin::link(engines, &bytes).map_err(|e| format!("{}: {e}", built.path.display()))?;
    let files = read(&dir.join("cases"), plugin.manifest())?;
    let mut results = Vec::with_capacity(files.len());
    for file in &files {
        let result = plugin.run_case(&file.case);
        let name = files::shown_name(&file.path);
        let case = printable(&result.name);
        match &result.difference {
            None => println!("ok      {name}: {case} ({} us, fuel {})", result.time_us, result.fuel),
            Some(_) if update => {
                rewrite(&file.path, &result.outcome)?;
                println!("written {name}: {case}");
            }
            Some(_) => eprint!("FAILED  {name}: {case}\n{}", diff(&file.case.expect, &result)),
        }
        results.push((name, result));
    }
    let failed = results.iter().filter(|(_, result)| result.difference.is_some() && !update).count();
    println!("{}: {} cases, {failed} failed", plugin.manifest().id(), results.len());
    if update && results.iter().any(|(_, result)| result.difference.is_some()) {
        // The artifact carries its cases: those that were written now, too.
        parts.package()?;
    }
    if let Some(file) = junit {
        std::fs::write(file, xml(plugin.manifest(), &files, &results)?)
            .map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(failed == 0)
}

fn read(folder: &Path, manifest: &Manifest) -> Result<Vec<File>, Failure> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for path in files_in(folder, "json").map_err(|e| format!("{}: {e}", folder.display()))? {
        let bad = |why: String| format!("{}: {why}", files::shown(&path));
        let text = files::read_text(&path, files::MAX_TEXT_BYTES).map_err(|e| bad(e.to_string()))?;
        let mut json = serde_json::Deserializer::from_str(&text);
        let case: Case = serde_path_to_error::deserialize(&mut json).map_err(|e| bad(e.to_string()))?;
        check_case(&case, manifest).map_err(bad)?;
        files.push(File { path, case });
    }
    Ok(files)
}

fn expectation(outcome: &Came) -> Expectation {
    match outcome {
        Came::Candidates(candidates) => Expectation::Candidates(candidates.clone()),
        Came::Refusal { code, message } => Expectation::Refusal { code: code.to_string(), message: message.clone() },
        Came::Failure { kind, .. } => Expectation::Failure(*kind),
    }
}

/// Expected and come, line by line.
fn diff(expected: &Expectation, result: &CaseResult) -> String {
    let outcome = &result.outcome;
    let pretty = |value: &Expectation| serde_json::to_string_pretty(value).unwrap_or_default();
    let (before, after) = (pretty(expected), pretty(&expectation(outcome)));
    let mut text = "    - expected\n    + came\n".to_owned();
    for change in TextDiff::from_lines(&before, &after).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        text.push_str(&format!("    {sign} {}\n", change.value().trim_end()));
    }
    if let Came::Failure { detail, .. } = outcome {
        text.push_str(&format!("    {}\n", printable_to(detail, bounds::MESSAGE)));
        if let Some(advice) = serin_core::answer::advice(outcome) {
            text.push_str(&format!("    {advice}\n"));
        }
    }
    for surprise in &result.surprises {
        text.push_str(&format!("    {surprise}\n"));
    }
    text
}

/// Puts what came into the case's file, and leaves the rest of it.
fn rewrite(path: &Path, outcome: &Came) -> Result<(), Failure> {
    let text = files::read_text(path, files::MAX_TEXT_BYTES)?;
    // In the order and the form that the author gave them.
    let mut case: IndexMap<String, Box<RawValue>> = serde_json::from_str(&text)?;
    let expected = serde_json::to_string_pretty(&expectation(outcome))?.replace('\n', "\n  ");
    case.insert("expect".to_owned(), RawValue::from_string(expected)?);
    let part = path.with_extension("part");
    std::fs::write(&part, serde_json::to_string_pretty(&case)? + "\n")?;
    Ok(std::fs::rename(&part, path)?)
}

fn xml(manifest: &Manifest, files: &[File], results: &[(String, CaseResult)]) -> Result<String, Failure> {
    let mut suite = TestSuite::new(manifest.id());
    for ((name, result), file) in results.iter().zip(files) {
        let status = match &result.difference {
            None => TestCaseStatus::success(),
            Some(_) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message("not as expected").set_description(diff(&file.case.expect, result));
                status
            }
        };
        let mut case = TestCase::new(result.name.clone(), status);
        case.set_classname(name.clone()).set_time(std::time::Duration::from_micros(result.time_us));
        suite.add_test_case(case);
    }
    let mut report = Report::new("serin plugin test");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

/// Writes `DIR/cases/decision-ID.json`: what this strategy was shown then, and what it answered.
pub(super) fn cut(id: &str, dir: &Path, admin: &str) -> Outcome {
    let path = dir.join("plugin.toml");
    let text = files::read_text(&path, files::MAX_TEXT_BYTES).map_err(|e| format!("{}: {e}", path.display()))?;
    let manifest = Manifest::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let answer = Client::new(admin).get(&format!("/v1/decisions/{id}"))?;
    let record = Record::parse(answer.to_string().as_bytes())?;
    let case = case_of(&record, &manifest)?;
    let folder = dir.join("cases");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("decision-{id}.json"));
    if file.exists() {
        return Err(format!("{}: is there already", file.display()).into());
    }
    std::fs::write(&file, serde_json::to_string_pretty(&case)? + "\n")?;
    println!("{}", file.display());
    Ok(true)
}

fn case_of(record: &Record, manifest: &Manifest) -> Result<Case, Failure> {
    let attempt = record.attempts.iter().find(|attempt| attempt.strategy.name == manifest.name).ok_or_else(|| {
        let ran: Vec<&str> = record.attempts.iter().map(|attempt| &*attempt.strategy.name).collect();
        format!("decision {} was not made by {}; it was made by: {}", record.decision_id, manifest.name, ran.join(", "))
    })?;
    let (mut context, mut features) = (IndexMap::new(), IndexMap::<String, IndexMap<String, Value>>::new());
    for feature in &manifest.features {
        let known = record.feature(&feature.view, &feature.name).filter(|value| !value.is_missing());
        let Some(value) = known.cloned() else { continue };
        if *feature.view == *CONTEXT_VIEW {
            context.insert(feature.name.to_string(), value);
        } else {
            features.entry(feature.view.to_string()).or_default().insert(feature.name.to_string(), value);
        }
    }
    let scores = attempt.scores.iter().filter_map(|score| Some((score.model.name.to_string(), score.value?)));
    let parameters = manifest.parameters.iter().zip(&attempt.parameters);
    let calls = attempt.transcript.iter().filter_map(|call| {
        let model = manifest.callable.get(call.model as usize)?;
        let (scores, error) = match call.answer.clone() {
            Ok(scores) => (scores, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Some(CaseCall { model: model.model.name.to_string(), rows: call.rows.clone(), scores, error })
    });
    Ok(Case {
        name: format!("decision {}", record.decision_id),
        time: jiff::Timestamp::from_millisecond(record.time_ms as i64).ok().map(|time| time.to_string()),
        utc_offset_minutes: record.utc_offset_minutes,
        context,
        features,
        scores: scores.collect(),
        parameters: parameters.map(|(declared, value)| (declared.name.to_string(), value.clone())).collect(),
        calls: calls.collect(),
        expect: expectation(&attempt.outcome),
    })
}
