//! What a fresh instance costs in each language, how long an artifact takes until it can be
//! routed to, and what a reload costs the decisions that are made meanwhile.

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serin::clock::Budget;
use serin::registry::Plugin;
use serin::sandbox::{Bare, Engines, Run};
use serin_core::limits::Limits;

use crate::client::{Requests, open};
use crate::measure::{TimedCall, interleaved};
use crate::process::{Server, faults};
use crate::table::{Row, Table};
use crate::versions::{Code, version};
use crate::world::{Failure, Folders, artifact};

/// A strategy in each language, and what a fresh instance may cost against one that is called again.
const STRATEGIES: [(&str, &str, Option<f64>); 3] = [
    ("Rust", "outreach-rules", None),
    ("Python", "outreach-hardship", Some(15.0)),
    ("JavaScript", "outreach-uplift", Some(2.0)),
];

/// A wall clock that no busy machine reaches.
const PATIENCE: Duration = Duration::from_secs(60);
/// Decisions a second while a large artifact is loaded: what leaves the machine room to compile.
const RATE: f64 = 500.0;
/// Connections of that load.
const CONNECTIONS: usize = 32;

fn read(name: &str) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(artifact(name, &format!("{name}-1.0.0.wasm"))?)?)
}

/// Measures all of it.
pub fn measure(
    folders: &Folders,
    bodies: Vec<String>,
    rounds: usize,
    lasts: Duration,
    table: &mut Table,
) -> Result<(), Failure> {
    instances(rounds, table)?;
    loading(&folders.path("compiled-by-bench"), table)?;
    reloading(bodies, lasts, table)
}

fn instances(rounds: usize, table: &mut Table) -> Result<(), Failure> {
    let engines = Engines::new(4).map_err(|e| e.to_string())?;
    let unlimited = Engines::without_limits(4).map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for (language, name, most) in STRATEGIES {
        let plugin = Plugin::link(&engines, &read(name)?)?;
        let (manifest, case) = (plugin.manifest(), plugin.contents.cases.first().ok_or("an example has cases")?);
        let features = case.positional_features(manifest).ok_or("the case has all features")?;
        let scores = case.positional_scores(manifest).ok_or("the case has all scores")?;
        let parameters = manifest.parameters_with(&case.parameters)?;
        let run = || Run {
            decision_point: &manifest.decision_point,
            time_ms: 1_767_268_800_000,
            utc_offset_minutes: 0,
            features: &features,
            scores: &scores,
            parameters: &parameters,
        };
        let limits = Limits { wall_ms: PATIENCE.as_millis() as u64, ..manifest.limits.over(Limits::default()) };
        let bare = Bare::new(&plugin.linked, &run(), limits);
        let without = Plugin::link(&unlimited, &read(name)?)?;
        let unmetered = Bare::new(&without.linked, &run(), limits);
        let mut resident = Bare::new(&plugin.linked, &run(), limits).resident().map_err(|e| e.to_string())?;
        let hosted = || black_box(plugin.linked.run(&run(), manifest, limits, Budget::new(PATIENCE), None)).fuel;
        const AGAIN: usize = 0;
        const START: usize = 1;
        const HOST: usize = 3;
        const BARE: usize = 4;
        const UNLIMITED: usize = 5;
        let subjects: Vec<TimedCall<'_>> = vec![
            Box::new(move || assert_ne!(resident().expect("runs"), 0)),
            Box::new(|| bare.instantiate().expect("starts")),
            // Not counted: what comes next must not be the one that finds the caches cold.
            Box::new(|| assert_ne!(bare.call().expect("runs"), 0)),
            Box::new(|| assert!(hosted() > 0)),
            Box::new(|| assert_ne!(bare.call().expect("runs"), 0)),
            Box::new(|| assert_ne!(unmetered.call().expect("runs"), 0)),
        ];
        let timed = interleaved(rounds, subjects);
        let pages = {
            let before = faults();
            (0..100).for_each(|_| assert_ne!(bare.call().expect("runs"), 0));
            (faults() - before) / 100.0
        };
        let again = Row::new(format!("{language}: the same, bare"), timed.us(BARE), "µs")
            .against("one instance called again", timed.us(AGAIN))
            .ratio(timed.ratio(BARE, &[AGAIN]));
        rows.extend([
            Row::new(format!("{language}: a fresh instance, called"), timed.us(HOST), "µs")
                .against("bare wasmtime: instantiate, call, drop", timed.us(BARE))
                .ratio(timed.ratio(HOST, &[BARE]))
                .ratio_at_most(1.2),
            match most {
                Some(most) => again.ratio_at_most(most),
                None => again,
            },
            Row::new("  of it: instantiate and drop", timed.us(START), "µs"),
            Row::new("  with fuel and a wall limit", timed.us(BARE), "µs")
                .against("on an engine without", timed.us(UNLIMITED))
                .ratio(timed.ratio(BARE, &[UNLIMITED]))
                .ratio_at_most(1.15),
            Row::new("  pages of memory that it writes first", pages, ""),
        ]);
    }
    table.section("a decision in each language, on one thread", rows);
    Ok(())
}

fn loading(dir: &Path, table: &mut Table) -> Result<(), Failure> {
    let load = |bytes: &[u8]| {
        let engines = Engines::new(4).map_err(|e| e.to_string())?.cached(dir);
        let started = Instant::now();
        let plugin = Plugin::load(&engines, bytes)?;
        let took = started.elapsed().as_secs_f64() * 1e3;
        drop(plugin);
        Ok::<_, Failure>(took)
    };
    let mut rows = Vec::new();
    for (language, name, _) in STRATEGIES {
        let bytes = read(name)?;
        let anew = load(&bytes)?;
        let known = crate::measure::median((0..5).map(|_| load(&bytes)).collect::<Result<_, _>>()?);
        rows.push(
            Row::new(format!("{language}: from the cache, cases run"), known, "ms")
                .against("compiled anew", anew)
                .at_most(200.0),
        );
    }
    table.section("until an artifact can be routed to", rows);
    Ok(())
}

fn reloading(bodies: Vec<String>, lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    // Its own: a ledger has one host.
    let folders = Folders::lay_out()?;
    let requests = Rc::new(Requests::post("/v1/decisions", bodies.into_iter()));
    let host = Server::serin(&folders.config())?;
    let load = |lasts| {
        let load = open(&host.addresses[0], &requests, CONNECTIONS, RATE, lasts)?;
        match load.failed {
            0 => Ok::<_, Failure>(load),
            failed => Err(format!("{failed} answers were not a 200").into()),
        }
    };
    load(lasts / 4)?;
    let rules = std::fs::read(artifact("outreach-rules", "outreach-rules-1.0.0.wasm")?)?;
    // A small one is compiled in milliseconds: as many as it takes for one decision in a hundred to meet one.
    let rust = (1..=lasts.as_secs() as usize * 2)
        .map(|number| Ok((format!("outreach-rules-2.{number}.0.wasm"), version(&rules, number, Code::Each)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let python = vec![("outreach-hardship-1.0.0.wasm".to_owned(), read("outreach-hardship")?)];
    let mut rows = Vec::new();
    for (what, files, most) in
        [("a Rust version is added twice a second", rust, 2.0), ("Python is compiled", python, 3.0)]
    {
        let without = load(lasts)?;
        let plugins = folders.path("plugins");
        let during = std::thread::scope(|scope| {
            let adding = scope.spawn(|| add(&plugins, &files, lasts));
            let during = load(lasts);
            adding.join().map_err(|_| "a version could not be added")??;
            during
        })?;
        let url = format!("http://{}/v1/plugins", host.addresses[1]);
        let seen = ureq::get(url).call()?.body_mut().read_to_string()?;
        for (file, _) in &files {
            let (name, version) = file.trim_end_matches(".wasm").rsplit_once('-').ok_or("NAME-VERSION")?;
            if !seen.contains(name) || !seen.contains(version) {
                return Err(format!("{file} was not seen").into());
            }
            std::fs::remove_file(plugins.join(file))?;
        }
        let row = |p: f64| Row::new(format!("p{p} while {what}"), during.ms(p), "ms").against("without", without.ms(p));
        rows.extend([row(50.0), row(99.0).ratio_at_most(most), row(99.9).at_most(25.0)]);
    }
    table.section(format!("decisions over HTTP, {RATE} a second, while versions are loaded"), rows);
    Ok(())
}

/// Adds versions one by one, all of them while `lasts`.
fn add(plugins: &Path, files: &[(String, Vec<u8>)], lasts: Duration) -> std::io::Result<()> {
    for (file, bytes) in files {
        let partial = plugins.join(file).with_extension("partial");
        std::fs::write(&partial, bytes)?;
        std::fs::rename(partial, plugins.join(file))?;
        if files.len() > 1 {
            std::thread::sleep(lasts / files.len() as u32);
        }
    }
    Ok(())
}
