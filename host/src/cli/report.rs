//! `serin report`.

use std::path::Path;
use std::sync::Arc;

use serin_core::analysis::Course;
use serin_core::experiment::Experiment;

use super::{Outcome, ReportArgs, ReportFormat};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::experiments::{AnalysisSubject, read_whole, recorded};
use crate::files;
use crate::ledger::{LedgerReader, Reads as _};
use crate::registry::Archive;
use crate::report::{Report, ReportContext, shadows};

type Failure = Box<dyn std::error::Error>;

pub(super) fn run(args: &ReportArgs) -> Outcome {
    let report = match &args.config {
        Some(config) => of_ledger(config, &args.id, args.recompute)?,
        None => {
            let answer = args
                .credential
                .client(&args.admin)?
                .get_text(&format!("/v1/experiments/{}/report?recompute={}", args.id, args.recompute))?;
            serde_json::from_str(&answer).map_err(|e| format!("{}: not a report: {e}", args.admin))?
        }
    };
    match args.format {
        ReportFormat::Text => print!("{report}"),
        ReportFormat::Html => print!("{}", report.html()),
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(true)
}

/// Analyses the ledger of a host that is not running, by the spec that was in force.
fn of_ledger(config: &Path, id: &str, recompute: bool) -> Result<Report, Failure> {
    let config = Config::load(config)?;
    let root = config.fixed.data_dir().join("archive");
    let archive =
        Archive::at(&root).ok_or_else(|| format!("{}: is not there; no host has served yet", files::shown(&root)))?;
    let archived = |digest: &str| String::from_utf8(archive.get(digest)?).ok();
    let specs: Vec<(Experiment, String)> = archive
        .names("experiment")
        .iter()
        .filter_map(|name| archived(archive.applied("experiment", name)?.first()?))
        .filter_map(|text| Some((Experiment::parse(&text).ok()?, text)))
        .collect();
    let known = specs.iter().map(|(spec, _)| spec.id.to_string()).collect::<Vec<_>>().join(", ");
    let applied = specs.into_iter().find(|(spec, _)| *spec.id == *id);
    let applied = applied.ok_or_else(|| format!("no experiment '{id}' was applied here; applied: {known}"))?;
    let ledger = LedgerReader::open(&config.fixed.ledger)?;
    let status = ledger.statuses()?.into_iter().find(|(known, _)| **known == *id).map(|(_, status)| status);
    let status = status.unwrap_or_default();
    let spec = Arc::new(recorded(&status, applied, archived).0);
    let point = config.points.get(&spec.decision_point);
    let point =
        point.ok_or_else(|| format!("decision point '{}' is not in {}", spec.decision_point, config.path.display()))?;
    let course = Course::of(&status, &point.layer.unit);
    if status.started_ms.is_none() {
        return Err("it has not begun: there is nothing to report yet".into());
    }
    let end = match ledger.final_report(id)?.map(|json| serde_json::from_str::<Report>(&json)) {
        Some(Ok(end)) if !recompute => return Ok(end),
        Some(Err(error)) if !recompute => {
            let why =
                format!("the report as of its end cannot be read: {error}; ask for one as of now with --recompute");
            return Err(why.into());
        }
        end => end.and_then(Result::ok),
    };
    let subject = AnalysisSubject { spec, course, pin: point.strategy.to_string() };
    let subject = if recompute { subject.without_end() } else { subject };
    let as_of_ms = status.ended_ms.filter(|_| !recompute).unwrap_or_else(|| SystemClock.now_ms());
    let observed = read_whole(&ledger, &subject)?;
    let context = ReportContext {
        changes: ledger.transitions(id)?,
        history: ledger.history(id)?,
        shadows: shadows(ledger.shadow_counts(id)?, |arm| ledger.shadow_latency(id, arm))?,
    };
    let report = Report::new(&observed, &status, context, as_of_ms);
    let report = report.as_shipped(&ledger, status.shipped_ms)?;
    Ok(match end {
        Some(end) => report.compared_with(&end),
        None => report,
    })
}
