//! The time for which a ramp stands still. Nobody enters an experiment whose file is gone, or does not fit the deployment:
//! its steps show nothing meanwhile, so that time does not count as held.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serin_core::Name;
use serin_core::experiment::{State, Status};

/// How long the ramps of experiments have stood still, each in its current step.
#[derive(Debug, Default)]
pub struct StoodTimes(Mutex<BTreeMap<Name, Stood>>);

#[derive(Debug, Clone, Copy)]
struct Stood {
    /// When the step began.
    step_ms: u64,
    /// Since when it stands still; none while it goes on.
    from_ms: Option<u64>,
    /// How long it stood still before.
    before_ms: u64,
}

impl Stood {
    fn total_ms(&self, now_ms: u64) -> u64 {
        self.before_ms + self.from_ms.map_or(0, |from_ms| now_ms.saturating_sub(from_ms))
    }
}

impl StoodTimes {
    /// Notes which experiments are served, as the files are now: their ids and statuses, and whether they are.
    pub fn note<'e>(&self, experiments: impl Iterator<Item = (&'e str, &'e Status, bool)>, now_ms: u64) {
        let mut times = self.0.lock();
        // Others are kept, too: one that is resumed does not wait for the next look at the files.
        let current = experiments.filter(|(_, status, _)| !status.state.is_ended());
        *times = current
            .map(|(id, status, is_served)| {
                let (id, step_ms) = (Name::from(id), status.since_ms);
                let before = times.get(&id).filter(|before| before.step_ms == step_ms);
                // Of what was so before this process, nothing is known: none of it counts.
                let since_ms = if before.is_some() { now_ms } else { step_ms };
                let before = before.copied().unwrap_or(Stood { step_ms, from_ms: None, before_ms: 0 });
                let stood = match is_served {
                    true => Stood { before_ms: before.total_ms(now_ms), from_ms: None, ..before },
                    false => Stood { from_ms: before.from_ms.or(Some(since_ms)), ..before },
                };
                (id, stood)
            })
            .collect();
    }

    /// Whether an experiment's ramp stands still, since nobody can enter.
    pub fn stands_still(&self, id: &str) -> bool {
        self.0.lock().get(id).is_some_and(|stood| stood.from_ms.is_some())
    }

    /// A status whose step began later, by the time for which its ramp stood still.
    pub fn as_held(&self, id: &str, status: Status, now_ms: u64) -> Status {
        let times = self.0.lock();
        let stood = times.get(id).filter(|stood| status.state == State::Running && stood.step_ms == status.since_ms);
        let since_ms = status.since_ms + stood.map_or(0, |stood| stood.total_ms(now_ms));
        Status { since_ms, ..status }
    }
}
