//! `serin serve --dev --source DIR`: what is saved is built, checked, tested and served, and the
//! terminal shows how it would have decided what was decided last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serin_core::answer::draw;
use serin_core::experiment::Pin;
use serin_core::record::{Outcome, Record};

use super::build::{BuildOptions, draft};
use super::case_report::CaseReport;
use super::draft::Drafts;
use super::sources::sources;
use crate::app::Reloader;
use crate::ledger::{DecisionFilter, Ledger, Reads as _};
use crate::registry::{ArtifactState, Plugin, Watcher, read_file};
use crate::replay::{CandidateAnswer, compare};
use crate::sandbox::Engines;

/// Decisions that a new version is compared on.
const DECISIONS: u32 = 100;
/// How long a swap may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the loop needs of a host, without keeping it from stopping.
#[derive(Clone)]
pub(super) struct Served {
    pub reloader: Weak<Reloader>,
    pub ledger: Weak<Ledger>,
    /// The plugins folder.
    pub plugins: PathBuf,
}

/// Checks that a folder is a strategy's, before anything is served.
pub(super) fn is_project(source: &Path) -> Result<(), String> {
    match source.join("plugin.toml").is_file() {
        true => Ok(()),
        false => Err(format!(
            "--source {}: has no plugin.toml in it; valid: a strategy's folder, as `serin plugin new` and `serin init` \
             make it",
            crate::files::shown(source)
        )),
    }
}

/// Watches a strategy's source from a thread of its own, until the host is gone.
pub(super) fn watch(source: PathBuf, served: Served) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("serin-dev".into())
        .spawn(move || {
            if let Err(error) = run(&source, &served) {
                eprintln!("dev: {}: {error}", source.display());
            }
        })
        .map(drop)
}

fn run(source: &Path, served: &Served) -> Result<(), Box<dyn std::error::Error>> {
    // The host's own: what is compiled for the cases is not compiled again to be served.
    let Some(engines) = served.reloader.upgrade().map(|reloader| reloader.folder.engines()) else { return Ok(()) };
    let (wake, events) = crossbeam_channel::bounded::<()>(1);
    let folders = ["", "src", "cases"].iter().map(|folder| source.join(folder)).filter(|folder| folder.is_dir());
    let _watcher = Watcher::new(&folders.collect::<Vec<_>>(), move || {
        // A wake that is waiting already covers this change, too.
        let _ = wake.try_send(());
    })?;
    let (mut last, mut drafts) = (None, Drafts::default());
    loop {
        let stamp = sources(source);
        // What the build writes into the folder is no change of the source.
        if last.as_ref() != Some(&stamp) {
            last = Some(stamp);
            if let Err(error) = once(&engines, &mut drafts, source, served) {
                eprintln!("dev: {error}");
            }
        }
        loop {
            match events.recv_timeout(Duration::from_millis(500)) {
                Ok(()) => break,
                Err(crossbeam_channel::RecvTimeoutError::Timeout) if served.reloader.strong_count() > 0 => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

fn once(
    engines: &Engines,
    drafts: &mut Drafts,
    source: &Path,
    served: &Served,
) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let options = BuildOptions { quiet: true, ..BuildOptions::default() };
    let built = draft(source, options, engines, drafts)?.package()?;
    said!("dev: built {} in {:.1} s", built.path.display(), began.elapsed().as_secs_f64());
    let bytes = read_file(&built.path)?;
    let ended = Instant::now();
    let plugin = Plugin::link(engines, &bytes)?;
    let compiling = ended.elapsed();
    passes(engines, source, &plugin)?;
    let passing = match plugin.contents.cases.len() as u64 {
        0 => "there are no cases".to_owned(),
        1 => "its case passes".to_owned(),
        many => format!("{many} cases pass"),
    };
    said!("dev: {} checked; {passing}", plugin.manifest().id());
    let Some(reloader) = served.reloader.upgrade() else { return Ok(()) };
    let pin = Pin { name: plugin.id.name.clone(), version: plugin.manifest().version.clone() };
    let before = reloader.folder.active().get(&pin).cloned();
    let swapping = Instant::now();
    let name = format!("{}-{}.wasm", pin.name, pin.version);
    let partial = served.plugins.join(format!(".{name}.partial"));
    std::fs::write(&partial, &bytes)?;
    std::fs::rename(&partial, served.plugins.join(&name))?;
    // As it is shown: a version that is loaded is served only once the next deployment is in force.
    let is_served = || {
        let statuses = reloader.folder.statuses();
        statuses.iter().any(|status| status.digest == *plugin.id.digest && status.state == ArtifactState::Active)
    };
    while !is_served() {
        if swapping.elapsed() > PATIENCE {
            return Err(format!("{name}: is not served; see GET /v1/plugins").into());
        }
        // Asked for at once, and not left to the next file event.
        reloader.reload();
        std::thread::sleep(Duration::from_millis(20));
    }
    said!(
        "dev: {pin} {} {:.2} s after the build's end, {:.2} of them for machine code",
        if unserved(&reloader, &plugin, &pin).is_none() { "served" } else { "loaded" },
        ended.elapsed().as_secs_f64(),
        compiling.as_secs_f64(),
    );
    if let Some(why) = unserved(&reloader, &plugin, &pin) {
        said!("dev: {why}");
    }
    // The first build is often of what is served already.
    let before = before.filter(|before| before.id.digest != plugin.id.digest);
    if let (Some(before), Some(ledger)) = (before, served.ledger.upgrade()) {
        difference(&ledger, &before, &plugin)?;
    }
    Ok(())
}

/// Why nobody is served by a version that is loaded; none if somebody is.
fn unserved(reloader: &Reloader, plugin: &Plugin, pin: &Pin) -> Option<String> {
    let deployment = reloader.deployment.load();
    let name = &plugin.manifest().decision_point;
    let Some(point) = deployment.points.get(name) else {
        return Some(format!("nobody is served by it: serin.toml has no decision point '{name}'"));
    };
    if let (true, Some(why)) = (point.pin == *pin, &point.unready) {
        return Some(format!("nobody is served by it: {why}"));
    }
    let is_arm = point.experiments.iter().flat_map(|experiment| &experiment.arms).any(|arm| {
        let manifest = arm.plugin.manifest();
        manifest.name == pin.name && manifest.version == pin.version
    });
    (point.pin != *pin && !is_arm).then(|| {
        format!(
            "nobody is served by it: '{name}' is pinned to {}; write strategy = \"{pin}\" there to see it",
            point.pin
        )
    })
}

/// Runs the cases; what fails is shown as `serin plugin test` does.
fn passes(engines: &Engines, source: &Path, plugin: &Plugin) -> Result<(), String> {
    let cases = &plugin.contents.cases;
    let mut report = CaseReport::new(engines, Some(source));
    let mut failed = Vec::new();
    for case in cases {
        let result = plugin.run_case(case);
        if result.difference.is_some() {
            failed.push(format!("FAILED  {}\n{}", serin_core::printable(&case.name), report.of(case, &result)));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("not served, {} of {} cases fail:\n{}", failed.len(), cases.len(), failed.concat().trim_end()))
}

/// How both versions would decide what was decided last.
fn difference(ledger: &Arc<Ledger>, before: &Plugin, after: &Plugin) -> Result<(), Box<dyn std::error::Error>> {
    let point = Some(after.manifest().decision_point.to_string());
    let records = ledger.decisions(&DecisionFilter { point, ..DecisionFilter::default() }, DECISIONS)?;
    let limits = serin_core::limits::Limits::default();
    let (mut same, mut other) = (0_u32, BTreeMap::<(String, String), u32>::new());
    for stored in &records {
        // One that expired or was altered says nothing about the versions.
        let Ok(record) = stored.parse() else { continue };
        let [was, is] = [before, after].map(|plugin| action(&record, &compare(&record, plugin, limits)));
        match (was, is) {
            (Some(was), Some(is)) if was == is => same += 1,
            (Some(was), Some(is)) => *other.entry((was, is)).or_default() += 1,
            _ => {}
        }
    }
    let changed: u32 = other.values().sum();
    said!("dev: of the last {} comparable decisions {same} would be the same, {changed} not", same + changed);
    for ((was, is), n) in other {
        said!("dev:   {was} -> {is}: {n}");
    }
    Ok(())
}

fn action(record: &Record, comparison: &CandidateAnswer) -> Option<String> {
    match comparison {
        CandidateAnswer::Answered(Outcome::Candidates(candidates)) => {
            Some(candidates[draw(candidates, record.entropy)].action.to_string())
        }
        CandidateAnswer::Answered(other) => Some(other.label().to_owned()),
        CandidateAnswer::NotComparable(_) => None,
    }
}
