//! What has to hold after each step.

use std::collections::BTreeMap;

use serin::experiments::{AnalysisSubject, read_whole};
use serin::ledger::{LedgerReader, Reads as _};
use serin_core::analysis::{Analysis, Observed, analyse};
use serin_core::experiment::{Aggregate, Quantity};

use super::feeds::Feed;
use super::files::{File, IDS};
use super::model::{self, Unit};
use super::world::World;

/// Holds the host to the model.
pub fn all(world: &mut World) {
    for id in IDS {
        follow(world, id);
    }
    deployment(world);
}

/// Statuses follow from one another as is allowed, and are what the ledger has.
fn follow(world: &mut World, id: &str) {
    let known = world.model.statuses.entry(id.to_owned()).or_default();
    let judged = world.model.judged.entry(id.to_owned()).or_default();
    let host = world.parts.as_ref().expect("it runs");
    let changes = host.ledger.transitions(id).expect("reads");
    for change in changes.iter().skip(known.generation as usize) {
        let ramp = world.model.ramps.get(&change.spec_digest).expect("a spec of the simulation");
        known.follow(change, ramp, judged);
    }
    assert_eq!(changes.len() as u64, known.generation, "changes are never lost");
    let status = host.controller.status(id);
    assert_eq!(
        (status.state.as_str(), status.generation, status.phase, status.step, status.applied, status.withdrawn),
        (&*known.state, known.generation, known.phase, known.step, known.coverage, known.withdrawn),
        "the status of {id}"
    );
}

/// What decides is what was recorded, and in the end all that was recorded.
fn deployment(world: &World) {
    let deployment = world.host().reloader.deployment.load();
    let point = &deployment.points["p"];
    let in_force: BTreeMap<&str, _> =
        point.experiments.iter().map(|running| (&*running.routed.id, &running.routed)).collect();
    for (id, running) in &in_force {
        let recorded = &world.model.statuses[*id].recorded;
        assert!(
            recorded.contains(&(running.phase, running.coverage)),
            "{id} decides in phase {} at coverage {}, which was never recorded: {recorded:?}",
            running.phase,
            running.coverage
        );
    }
    if !world.is_settled {
        return;
    }
    for id in IDS {
        let status = &world.model.statuses[id];
        let is_due = status.takes_units() && world.files_read[id] != File::Missing && !world.gone.contains(id);
        let running = in_force.get(id);
        assert_eq!(running.is_some(), is_due, "whether {id} is in force; it is {status:?}");
        if let Some(running) = running {
            let found = (running.phase, running.coverage, running.shipped.is_some());
            assert_eq!(
                found,
                (status.phase, status.coverage, status.state == "shipped"),
                "{id} as recorded is in force"
            );
            let arms: Vec<_> = running.arms.iter().map(|(name, weight)| (&**name, *weight)).collect();
            assert_eq!(arms, [("control", 0.5), ("next", 0.5)]);
        }
    }
}

/// What a host knows that has followed all along is what the ledger says as a whole, and what the
/// rows that were committed come to.
pub fn analyses(world: &World) {
    let now_ms = world.now_ms();
    let subjects = &world.host().reloader.status.load().subjects;
    let followed = world.host().observer.each(|followed, _| Some(followed.subject.spec.id.to_string()));
    for subject in subjects.iter().filter(|subject| world.model.statuses[&*subject.spec.id].takes_units()) {
        assert!(followed.contains(&subject.spec.id.to_string()), "{} is not followed", subject.spec.id);
    }
    let reader = LedgerReader::open(&world.folder.path().join("data/serin.db")).expect("opens");
    world.host().observer.each(|followed, _| {
        let subject = followed.subject.clone();
        let live = format!("{:?}", followed.analysis(now_ms).1);
        let whole = read_whole(&reader, &subject).expect("reads");
        let whole_units = whole.units().len();
        let analysis = analyse(&whole, now_ms);
        let status = &world.model.statuses[&*subject.spec.id];
        if status.takes_units() && !status.has_shipped {
            let (observed, analysis, _) = followed.analysis(now_ms);
            by_hand(world, &subject, observed, analysis, now_ms);
            assert_eq!(whole_units, followed.observed.units().len(), "units that entered, read as a whole");
        }
        // After its end an experiment's rows may expire before its last report is kept.
        if status.takes_units() {
            assert_eq!(live, format!("{analysis:?}"), "live analysis of {} and the whole ledger's", subject.spec.id);
        }
        Some(())
    });
}

fn by_hand(world: &World, subject: &AnalysisSubject, observed: &Observed, analysis: &Analysis, now_ms: u64) {
    let (spec, id) = (&subject.spec, &*subject.spec.id);
    let units = model::units(&world.model.rows, id);
    let seen: BTreeMap<&str, (&str, u64)> =
        observed.by_id().map(|(unit, known)| (unit, (&*spec.arms[known.arm].name, known.entry_ms))).collect();
    let entered: BTreeMap<&str, (&str, u64)> =
        units.iter().map(|(unit, known)| (&**unit, (&*known.arm, known.entry_ms))).collect();
    assert_eq!(seen, entered, "units that entered {id}, their arms and when, in the live analysis and by hand");
    for (metric, found) in spec.metrics.iter().zip(&analysis.metrics) {
        let Quantity::Mean(measure) = &metric.quantity else { unreachable!("no other quantity") };
        let aggregate = match measure.aggregate {
            Aggregate::Any => "any",
            Aggregate::Sum => "sum",
            Aggregate::Count => "count",
        };
        let feed = measure.outcome.as_deref().map(|name| Feed::of(&world.model.rows, name));
        let horizon_ms = feed.as_ref().map_or(now_ms, |feed| feed.horizon(metric.lag_ms, now_ms));
        for (arm, result) in spec.arms.iter().zip(&found.arms) {
            let mature_ms = |unit: &Unit| {
                let in_time = unit.entry_ms + metric.window_ms + metric.lag_ms;
                feed.as_ref().map_or(in_time, |feed| feed.mature_ms(in_time))
            };
            let of_arm = units.values().filter(|unit| *unit.arm == *arm.name);
            let mature = of_arm.map(|unit| (unit, mature_ms(unit))).filter(|(_, mature_ms)| *mature_ms <= horizon_ms);
            let name = measure.outcome.as_deref();
            let values: Vec<f64> =
                mature.map(|(unit, cut_off)| unit.value(name, aggregate, metric.window_ms, cut_off)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let what = format!("live analysis of {id}: '{}' in arm {}", metric.name, arm.name);
            assert_eq!(result.units, values.len() as u64, "{what}: mature units");
            let close = result.mean.is_none_or(|known| (known - mean).abs() < 1e-9);
            assert!(close && result.mean.is_some() != values.is_empty(), "{what}: {:?}, by hand {mean}", result.mean);
        }
    }
}
