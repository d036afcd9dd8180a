//! The slots of a layer that experiments hold. Slots are disjoint, also after an experiment has ended,
//! until its effects on its units have passed.

use serin_core::Name;
use serin_core::experiment::{Experiment, Status};

use crate::config::Config;
use crate::deployment::PointSpec;

/// A part of a layer that is not available to a new experiment.
pub(super) struct HeldSlot {
    layer: Name,
    slot: [f64; 2],
    id: Name,
    note: String,
    /// The experiment takes no more units.
    is_free_for_reuse: bool,
}

impl HeldSlot {
    /// None if it and its carry-over effects have ended. `has_entered` says whether it enrolled a unit;
    /// without one it has no effects.
    pub(super) fn of(
        config: &Config,
        spec: &Experiment,
        now: &Status,
        now_ms: u64,
        is_gone: bool,
        has_entered: &dyn Fn(&str) -> bool,
    ) -> Option<Self> {
        let layer = config.points.get(&spec.decision_point).map(|point| point.layer.name.clone()).unwrap_or_default();
        // Its carry-over effects would be noise in a new experiment.
        let free_ms = now.ended_ms.map(|ended| ended.saturating_add(spec.longest_ms()));
        let note = match free_ms {
            Some(free_ms) if free_ms <= now_ms => return None,
            Some(_) if is_known_whole(config, now, now_ms) && !has_entered(&spec.id) => return None,
            Some(free_ms) => {
                let at = jiff::Timestamp::from_millisecond(free_ms as i64).map(|t| t.to_string()).unwrap_or_default();
                format!("; it has ended, and its effects last until {at}: wait, or say reuse_slot = true")
            }
            // An experiment that never enrolled a unit has no effects.
            None if is_gone && now.started_ms.is_none() => return None,
            None if is_gone => "; its file is gone, and it has not ended: abort it, put the file back, \
                                or say reuse_slot = true"
                .to_owned(),
            None => String::new(),
        };
        let is_free_for_reuse = is_gone || now.ended_ms.is_some();
        Some(Self { layer, slot: spec.slot, id: spec.id.clone(), note, is_free_for_reuse })
    }
}

/// How long after its end the rows of an experiment's last decisions are committed.
const SETTLED_MS: u64 = 5_000;

/// Says whether every decision that an ended experiment made is in the ledger still.
fn is_known_whole(config: &Config, now: &Status, now_ms: u64) -> bool {
    let is_settled = now.ended_ms.is_some_and(|ended| ended.saturating_add(SETTLED_MS) <= now_ms);
    let retained_ms = config.retain.decisions.map_or(u64::MAX, |retain| retain.as_millis() as u64);
    is_settled && now.started_ms.is_none_or(|started| started.saturating_add(retained_ms) > now_ms)
}

/// Slots of a layer must not overlap. Several decision points may share a layer.
pub(super) fn check_slot(point: &PointSpec, slots: &[HeldSlot], spec: &Experiment, now: &Status) -> Result<(), String> {
    if now.state.is_ended() {
        return Ok(());
    }
    let holds = |other: &&HeldSlot| !(spec.reuse_slot && other.is_free_for_reuse);
    let mut others = slots.iter().filter(|other| other.layer == point.layer.name).filter(holds);
    match others.find(|other| spec.slot[0] < other.slot[1] && other.slot[0] < spec.slot[1]) {
        Some(other) => Err(format!(
            "slot = {:?} overlaps that of '{}', {:?}; slots of a layer are disjoint{}",
            spec.slot, other.id, other.slot, other.note
        )),
        None => Ok(()),
    }
}
