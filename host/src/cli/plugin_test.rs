//! `serin plugin test` and `serin plugin case`: cases as files, run in the host's own sandbox.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::value::RawValue;
use serin_core::case::{Case, CaseCall};
use serin_core::manifest::{CONTEXT_VIEW, Manifest};
use serin_core::numbers::counted;
use serin_core::printable;
use serin_core::record::{FailureKind, Outcome as Came, Record, ServedBy};
use serin_core::value::Value;

use super::build::{BuildOptions, Parts, draft, make};
use super::build_scripted::ScriptedLanguage;
use super::case_files::{self, CaseFile};
use super::case_report::{CaseReport, expectation};
use super::client::Client;
use super::draft::Drafts;
use super::progress::waiting;
use super::sources::sources;
use super::{Outcome, caches};
use crate::files;
use crate::registry::{CaseResult, Plugin, Watcher, read_file};
use crate::sandbox::Engines;

const OPTIONS: BuildOptions = BuildOptions { quiet: true, log_panics: false };

type Failure = Box<dyn std::error::Error>;

/// What is written into the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    /// Nothing.
    None,
    /// What came, where it is an answer.
    Answers,
    /// What came, also where it is a failure.
    All,
}

pub(super) fn run(dir: &Path, update: Update, watch: bool, junit: Option<&Path>) -> Outcome {
    let engines = caches::engines()?;
    if !watch {
        return once(&engines, dir, &make(dir, OPTIONS)?, update, junit);
    }
    // Which has more to compile than a machine does in a second.
    let is_drafted = ScriptedLanguage::of(dir) == Some(ScriptedLanguage::Python);
    let (engines, mut drafts) = (if is_drafted { engines.drafting() } else { engines }, Drafts::default());
    let (wake, events) = crossbeam_channel::bounded::<()>(1);
    let folders: Vec<PathBuf> =
        ["", "src", "cases"].iter().map(|folder| dir.join(folder)).filter(|folder| folder.is_dir()).collect();
    // A wake that is waiting already covers this change, too.
    let _watcher = Watcher::new(&folders, move || {
        let _ = wake.try_send(());
    })?;
    let mut last = None;
    loop {
        let stamp = sources(dir);
        // Builds again after an edit during the build, but not for files that the build itself wrote.
        if last.as_ref() == Some(&stamp) {
            events.recv()?;
            continue;
        }
        last = Some(stamp);
        let parts = draft(dir, OPTIONS, &engines, &mut drafts).map_err(Failure::from);
        if let Err(error) = parts.and_then(|parts| once(&engines, dir, &parts, Update::None, junit)) {
            eprintln!("{error}");
        }
        println!("-- waits for a change; Ctrl-C ends it");
    }
}

/// A case that ran.
struct Ran {
    file: CaseFile,
    result: CaseResult,
    /// What is wrong, in lines; none where it passes or was written.
    wrong: Option<String>,
}

fn once(engines: &Engines, dir: &Path, parts: &Parts, update: Update, junit: Option<&Path>) -> Outcome {
    let built = parts.package()?;
    let bytes = read_file(&built.path).map_err(|e| format!("{}: {e}", built.path.display()))?;
    let plugin = {
        let _waiting = waiting(&format!("compiling {}", files::shown(&built.path)), true);
        Plugin::link(engines, &bytes).map_err(|e| format!("{}: {e}", built.path.display()))?
    };
    let mut report = CaseReport::new(engines, Some(dir));
    let mut cases = Vec::new();
    for file in case_files::read(dir, plugin.manifest())? {
        let result = plugin.run_case(&file.case);
        let wrong = judge(&file, &result, update, &mut report)?;
        cases.push(Ran { file, result, wrong });
    }
    let failed = cases.iter().filter(|ran| ran.wrong.is_some()).count();
    println!("{}: {}, {failed} failed", plugin.manifest().id(), counted(cases.len() as u64, "case"));
    if cases.is_empty() {
        eprintln!(
            "warning: {}: no cases, so nothing was tested; valid: NAME.json files in it",
            files::shown(&dir.join("cases"))
        );
    }
    if update != Update::None {
        // The artifact carries its cases: those that were written now, too.
        parts.package()?;
    }
    if let Some(file) = junit {
        std::fs::write(file, xml(plugin.manifest(), &cases)?).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(failed == 0)
}

/// Says how a case went, and writes what came where that is wanted.
fn judge(
    file: &CaseFile,
    result: &CaseResult,
    update: Update,
    report: &mut CaseReport<'_>,
) -> Result<Option<String>, Failure> {
    let (name, case) = (files::shown_name(&file.path), printable(&result.name));
    if result.difference.is_none() {
        println!("ok      {name}: {case} ({} us, fuel {})", result.time_us, result.fuel);
        return Ok(None);
    }
    let mut wrong = report.of(&file.case, result);
    match (update, &result.outcome) {
        (Update::None, _) => {}
        (Update::Answers, Came::Failure { kind, .. }) => {
            let fails = match kind {
                FailureKind::Trap => "traps".to_owned(),
                kind => format!("fails ({})", kind.as_str()),
            };
            wrong.push_str(&format!("    not written: it {fails}; --accept-failures expects that from now on\n"));
        }
        _ => {
            rewrite(&file.path, &result.outcome)?;
            println!("written {name}: {case}");
            return Ok(None);
        }
    }
    eprint!("FAILED  {name}: {case}\n{wrong}");
    Ok(Some(wrong))
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

fn xml(manifest: &Manifest, cases: &[Ran]) -> Result<String, Failure> {
    let mut suite = TestSuite::new(manifest.id());
    for Ran { file, result, wrong } in cases {
        let status = match wrong {
            None => TestCaseStatus::success(),
            Some(wrong) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message("not as expected").set_description(wrong.clone());
                status
            }
        };
        let mut case = TestCase::new(result.name.clone(), status);
        case.set_classname(files::shown_name(&file.path)).set_time(std::time::Duration::from_micros(result.time_us));
        suite.add_test_case(case);
    }
    let mut report = Report::new("serin plugin test");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

/// Writes `DIR/cases/decision-ID.json`: what this strategy was shown then, and what it answered.
pub(super) fn cut(id: &str, dir: &Path, client: &Client) -> Outcome {
    let path = dir.join("plugin.toml");
    let text = files::read_text(&path, files::MAX_TEXT_BYTES).map_err(|e| format!("{}: {e}", path.display()))?;
    let manifest = Manifest::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let answer = client.get(&format!("/v1/decisions/{id}"))?;
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

/// Who made a decision.
fn made_by(record: &Record) -> String {
    let ran: Vec<&str> = record.attempts.iter().map(|attempt| &*attempt.strategy.name).collect();
    if !ran.is_empty() {
        return format!("it was made by {}", ran.join(", "));
    }
    let served = match record.answer.served_by {
        ServedBy::Constraint => "the decision point's exclude applied",
        _ => "the fallback action served",
    };
    let why: Vec<&str> = record.answer.degraded.iter().filter_map(|why| why.rsplit(':').next()).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
    format!("{served}; no strategy ran{why}")
}

fn case_of(record: &Record, manifest: &Manifest) -> Result<Case, Failure> {
    let attempt = record.attempts.iter().find(|attempt| attempt.strategy.name == manifest.name).ok_or_else(|| {
        format!("decision {} was not made by {}: {}", record.decision_id, manifest.name, made_by(record))
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
