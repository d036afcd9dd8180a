//! `serin replay`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use serin_core::numbers::counted;
use serin_core::record::{Outcome as Attempted, Record};

use super::{Format, Outcome, ReplayArgs, progress};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::http::{TIMES, parse_time};
use crate::ledger::{DecisionFilter, LedgerReader, Reads as _, RecordError, StoredRecord};
use crate::registry::{Archive, Plugin, read_file};
use crate::replay::{ArchivedVersions, CandidateAnswer, FieldDifference, ReplayResult, compare};
use crate::sandbox::Engines;

/// Differences that are printed; all are counted.
const SHOWN: usize = 20;
/// Records that a worker takes at once: the way to another thread costs as much as a run.
const AT_ONCE: usize = 64;
/// Such batches that wait for a worker.
const QUEUE: usize = 16;

/// What a record that cannot be replayed is listed with.
const ARTIFACT: &str = "artifact";
/// What a record that was altered is listed with.
const RECORD: &str = "record";

#[derive(Default)]
struct Tally {
    identical: AtomicU64,
    environmental: AtomicU64,
    different: AtomicU64,
    not_replayable: AtomicU64,
    expired: AtomicU64,
    unrecomputed: AtomicU64,
    shown: Mutex<Vec<(String, Vec<FieldDifference>)>>,
}

pub(super) fn run(args: &ReplayArgs) -> Outcome {
    let config = Config::load(&args.config)?;
    let time = |text: &Option<String>, key: &str| match text {
        None => Ok(None),
        Some(text) => parse_time(text, SystemClock.now_ms()).map(Some).ok_or(format!("{key} {text}: valid: {TIMES}")),
    };
    let filter = DecisionFilter {
        unit: None,
        point: args.point.clone(),
        since_ms: time(&args.since, "--since")?,
        until_ms: time(&args.until, "--until")?,
    };
    let ledger = LedgerReader::open(&config.fixed.ledger)?;
    if let Some(point) = &args.point {
        is_known(point, &config, &ledger)?;
    }
    let data = config.fixed.data_dir();
    let root = data.join("archive");
    let archive =
        Archive::at(&root).ok_or_else(|| format!("{}: is not there; no host has served yet", root.display()))?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let engines = Engines::new(cores as u32 + 2).map_err(|e| format!("{e:#}"))?;
    // What the host compiled is there already: seconds of work, where a strategy carries an
    // interpreter. It is believed where nobody asks for better.
    let engines = Arc::new(if args.recompile { engines } else { engines.cached(&config.fixed.compiled) });
    let bar = progress(Some(0), "decisions");
    match &args.candidate {
        Some(file) => against(args, &ledger, filter, &engines, (file, &config), &bar),
        None => verify(args, &ledger, &filter, &ArchivedVersions::new(engines, archive), &bar, cores),
    }
}

/// Decision points that an error lists.
const POINTS: u32 = 100;

/// A decision point that is configured, or that records are of.
fn is_known(point: &str, config: &Config, ledger: &LedgerReader) -> Result<(), Box<dyn std::error::Error>> {
    if config.points.contains_key(point) {
        return Ok(());
    }
    let mut known = ledger.recorded_points(POINTS)?;
    if known.iter().any(|known| known == point) {
        return Ok(());
    }
    known.extend(config.points.keys().map(ToString::to_string));
    known.sort();
    known.dedup();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(format!("--point {point}: no decision point of this name is configured or recorded; known: {known}").into())
}

/// Reads records on this thread, and works on them on as many as there are cores.
fn in_parallel(
    ledger: &LedgerReader,
    filter: &DecisionFilter,
    cores: usize,
    bar: &indicatif::ProgressBar,
    work: impl Fn(StoredRecord) + Sync,
) -> Result<(), Box<dyn std::error::Error>> {
    // To count them is work, too: for whoever looks on.
    if !bar.is_hidden() {
        bar.set_length(ledger.count(filter)?);
    }
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<StoredRecord>>(QUEUE);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (receiver, work) = (receiver.clone(), &work);
            scope.spawn(move || {
                for records in receiver {
                    let n = records.len() as u64;
                    records.into_iter().for_each(work);
                    bar.inc(n);
                }
            });
        }
        drop(receiver);
        let mut some = Vec::with_capacity(AT_ONCE);
        let read = ledger.for_each(filter, |record| {
            some.push(record);
            some.len() < AT_ONCE || sender.send(std::mem::replace(&mut some, Vec::with_capacity(AT_ONCE))).is_ok()
        });
        // The workers are there until the sender is gone.
        let _ = sender.send(some);
        drop(sender);
        read
    })?;
    bar.finish_and_clear();
    Ok(())
}

fn verify(
    args: &ReplayArgs,
    ledger: &LedgerReader,
    filter: &DecisionFilter,
    versions: &ArchivedVersions,
    bar: &indicatif::ProgressBar,
    cores: usize,
) -> Outcome {
    let tally = Tally::default();
    in_parallel(ledger, filter, cores, bar, |stored| tally.count(&stored, replayed(&stored, versions)))?;
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let (identical, different, not_replayable) =
        (count(&tally.identical), count(&tally.different), count(&tally.not_replayable));
    let (expired, unrecomputed) = (count(&tally.expired), count(&tally.unrecomputed));
    let decisions = identical + different + not_replayable;
    let shown = tally.shown.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.format == Format::Json {
        let rows: Vec<_> =
            shown.iter().map(|(id, differences)| json!({ "decision_id": id, "differences": differences })).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({
                "decisions": decisions, "identical": identical, "different": different,
                "not_replayable": not_replayable, "environmental_attempts": count(&tally.environmental),
                "routing_not_recomputed": unrecomputed, "expired": expired, "shown": rows,
            }))?
        );
    } else {
        for (id, differences) in &shown {
            eprintln!("{id}");
            for difference in differences {
                eprintln!("  {}", said(difference));
            }
        }
        println!(
            "{}: {identical} identical, {different} different, {not_replayable} not replayable; {} ended by the environment: not run again",
            counted(decisions, "decision"),
            counted(count(&tally.environmental), "attempt")
        );
        if unrecomputed > 0 {
            println!(
                "of {unrecomputed} the arm was computed again and the rest of the routing was not: they are older than that"
            );
        }
        if expired > 0 {
            println!(
                "{expired} more have expired: of these only the rows are kept, for experiments that have not ended"
            );
        }
    }
    if args.verify && decisions == 0 && !args.allow_empty {
        return Err(
            "nothing was verified: no record matches; see --point, --since and --until, or say --allow-empty".into()
        );
    }
    Ok(!args.verify || (different == 0 && not_replayable == 0))
}

/// What is wrong with a record, on one line.
fn said(FieldDifference { field, recorded, replayed }: &FieldDifference) -> String {
    let [was, is] = [recorded, replayed].map(|text| match text.is_empty() {
        true => "nothing".to_owned(),
        false => serin_core::inert_line(text),
    });
    match field.as_str() {
        // These were not run again.
        ARTIFACT | RECORD => format!("{field}: {was}"),
        _ => format!("{field}: recorded {was}, replayed {is}"),
    }
}

/// Replays a stored record; none where only its row is left.
fn replayed(stored: &StoredRecord, versions: &ArchivedVersions) -> Option<ReplayResult> {
    match stored.parse() {
        Ok(record) => Some(versions.replay(&record)),
        Err(RecordError::Expired) => None,
        Err(RecordError::Altered(why)) => Some(ReplayResult::Different(vec![FieldDifference {
            field: RECORD.to_owned(),
            recorded: why,
            replayed: String::new(),
        }])),
    }
}

impl Tally {
    fn count(&self, stored: &StoredRecord, verdict: Option<ReplayResult>) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        let note = |differences: Vec<FieldDifference>| {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.len() < SHOWN {
                shown.push((stored.decision_id.clone(), differences));
            }
        };
        match verdict {
            None => add(&self.expired, 1),
            Some(ReplayResult::Identical { environmental, not_recomputed }) => {
                add(&self.identical, 1);
                add(&self.environmental, environmental.into());
                add(&self.unrecomputed, u64::from(not_recomputed.is_some()));
            }
            Some(ReplayResult::Different(differences)) => {
                add(&self.different, 1);
                note(differences);
            }
            Some(ReplayResult::NotReplayable(why)) => {
                add(&self.not_replayable, 1);
                note(vec![FieldDifference { field: ARTIFACT.to_owned(), recorded: why, replayed: String::new() }]);
            }
        }
    }
}

fn against(
    args: &ReplayArgs,
    ledger: &LedgerReader,
    mut filter: DecisionFilter,
    engines: &Engines,
    (file, config): (&Path, &Config),
    bar: &indicatif::ProgressBar,
) -> Outcome {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let candidate = Plugin::load(engines, &bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    let (own, allowed) = (candidate.manifest().decision_point.to_string(), config.limits);
    fits(&own, args, file, config, ledger)?;
    // Decisions of other points are none that it would ever make.
    filter.point = Some(own);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let matrix: Mutex<BTreeMap<Pair, u64>> = Mutex::default();
    let reasons: Mutex<BTreeMap<String, u64>> = Mutex::default();
    in_parallel(ledger, &filter, cores, bar, |stored| {
        let compared = match stored.parse() {
            Ok(record) => (compare(&record, &candidate, allowed), Some(record)),
            Err(RecordError::Expired) => (CandidateAnswer::NotComparable("its record has expired".to_owned()), None),
            Err(RecordError::Altered(why)) => (CandidateAnswer::NotComparable(why), None),
        };
        match compared {
            (CandidateAnswer::Answered(outcome), Some(record)) => {
                let pair = Pair::of(&record, &outcome);
                *matrix.lock().unwrap_or_else(PoisonError::into_inner).entry(pair).or_default() += 1;
            }
            (CandidateAnswer::Answered(_), None) => {}
            (CandidateAnswer::NotComparable(why), _) => {
                *reasons.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
            }
        }
    })?;
    let matrix = matrix.into_inner().unwrap_or_else(PoisonError::into_inner);
    let reasons = reasons.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.format == Format::Json {
        let rows: Vec<_> = matrix
            .iter()
            .map(|(pair, n)| {
                json!({
                    "recorded": pair.recorded, "candidate": pair.candidate,
                    "other_parameters": pair.has_other_parameters, "decisions": n,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "actions": rows, "not_comparable": reasons }))?);
        return Ok(true);
    }
    println!("{:<20} {:<40} {:>9}", "RECORDED", candidate.manifest().id(), "DECISIONS");
    for (Pair { recorded, candidate, has_other_parameters }, n) in &matrix {
        let other = if *has_other_parameters { ", other parameters" } else { "" };
        println!("{recorded:<20} {:<40} {n:>9}", format!("{candidate}{other}"));
    }
    for (why, n) in &reasons {
        println!("not comparable: {}: {n}", serin_core::inert_line(why));
    }
    Ok(true)
}

/// Says whether a candidate decides at the point whose records are read.
fn fits(
    own: &str,
    args: &ReplayArgs,
    file: &Path,
    config: &Config,
    ledger: &LedgerReader,
) -> Result<(), Box<dyn std::error::Error>> {
    let shown = file.display();
    if let Some(point) = args.point.as_deref().filter(|point| *point != own) {
        return Err(
            format!("--candidate {shown} decides at '{own}', and --point is '{point}'; valid: --point {own}").into()
        );
    }
    is_known(own, config, ledger).map_err(|why| {
        let why = why.to_string();
        let known = why.rsplit("; ").next().unwrap_or_default();
        format!("--candidate {shown} decides at '{own}', and no such decision point is configured or recorded; {known}")
            .into()
    })
}

/// A recorded action, and what a candidate would have chosen in its place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    recorded: String,
    /// The action that the candidate's answer leads to with the recorded entropy, or the kind of its failure.
    candidate: String,
    /// The action is the same, and its parameters are not.
    has_other_parameters: bool,
}

impl Pair {
    fn of(record: &Record, outcome: &Attempted) -> Self {
        let recorded = record.answer.action.to_string();
        match outcome {
            Attempted::Candidates(candidates) => {
                let chosen = &candidates[serin_core::answer::draw(candidates, record.entropy)];
                let is_same = *chosen.action == *recorded;
                let has_other_parameters = is_same && chosen.parameters != record.answer.parameters;
                Self { recorded, candidate: chosen.action.to_string(), has_other_parameters }
            }
            other => Self { recorded, candidate: other.label().to_owned(), has_other_parameters: false },
        }
    }
}
