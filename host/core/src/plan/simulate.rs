//! Simulates one experiment, day by day, through the code that a host runs. Only the clock, the
//! units and their events are simulated.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::DAY;
use super::draw::Draw;
use super::feed::{UnitEvent, UnitEventKind};
use super::setup::Setup;
use super::world::Assumed;
use crate::Name;
use crate::allocation::{Purpose, admitted, pick, place};
use crate::analysis::{Analysis, Course, Feed, HarmStatus, NeverPosted, Observed, SRM_ALPHA, analyse, next_shares};
use crate::experiment::{Command, Next, Source, State, Status};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The verdict was to ship this arm.
    Won(usize),
    /// A guardrail, by its position, showed harm.
    Harm(usize),
    /// A sample ratio mismatch.
    Unbalanced,
    /// It ran for `max_duration` without a winner.
    Over,
    /// It would still be running.
    Open,
}

/// A simulated experiment.
#[derive(Debug, Clone, Copy)]
pub(super) struct SimulatedRun {
    pub end: End,
    /// Its duration in days.
    pub days: u32,
    pub entered: u64,
    /// Whether it reached the ramp's last step.
    pub at_last_step: bool,
}

/// A decision that is due.
struct Due {
    unit: u32,
    at_ms: u64,
    /// Remaining decisions, this one included.
    left: u32,
    /// The arm, once the unit has entered.
    arm: Option<usize>,
    /// The decision, counted down, on which events occur, and which of its model's hits those are.
    hit: (u32, u8),
    action: usize,
    /// It never reaches the ledger.
    is_lost: bool,
}

struct Simulation<'a> {
    setup: &'a Setup<'a>,
    draw: Draw,
    kind: Name,
    /// Every run has its own unit ids, so that places do not repeat.
    prefix: String,
    id: String,
    units: u32,
    observed: Observed,
    status: Status,
    weights: Vec<f64>,
    salt: String,
    due: Vec<Vec<Due>>,
    posts: Vec<Vec<UnitEvent>>,
    /// An outcome's name that nobody posts.
    misnamed: Option<&'a Name>,
}

/// Simulates one experiment. Returns how it ended, and its observed facts.
pub(super) fn run(setup: &Setup<'_>, seed: u64) -> (SimulatedRun, Observed) {
    let spec = setup.spec;
    let kind = spec.unit.clone().unwrap_or_else(|| "unit".into());
    let mut run = Simulation {
        setup,
        draw: Draw(seed),
        prefix: format!("{seed:016x}-"),
        id: String::new(),
        units: 0,
        observed: Observed::new(Arc::clone(spec)),
        status: Status::default(),
        weights: Vec::new(),
        salt: String::new(),
        due: (0..setup.days).map(|_| Vec::new()).collect(),
        posts: (0..setup.days).map(|_| Vec::new()).collect(),
        kind,
        misnamed: setup.assumed.misnamed(spec),
    };
    let mut end = run.command(&Command::Start, 0).unwrap_or(End::Open);
    let mut day = 0;
    while day < setup.days && end == End::Open {
        run.day(day);
        day += 1;
        end = run.look(u64::from(day) * DAY);
    }
    let at_last_step = run.status.step + 1 >= spec.ramp.len();
    let entered = run.observed.entered().iter().sum();
    (SimulatedRun { end, days: day, entered, at_last_step }, run.observed)
}

impl Simulation<'_> {
    fn day(&mut self, day: u32) {
        let begins = u64::from(day) * DAY;
        for due in std::mem::take(&mut self.due[day as usize]) {
            self.decide(due);
        }
        // A fraction of a unit is carried to the next day; a sum of fractions may fall short of it.
        let until = |day: u32| (self.setup.traffic.units_per_day.max(0.0) * f64::from(day) + 1e-6).floor() as u64;
        let today = until(day + 1) - until(day);
        for i in 0..today {
            let unit = self.units;
            self.units += 1;
            let is_once = self.setup.models[0].counts_decisions || self.setup.spec.allocation.is_some();
            let left = if is_once { 1 } else { self.draw.whole(self.setup.traffic.decisions_per_unit).max(1) };
            let at_ms = begins + i * DAY / today;
            self.decide(Due { unit, at_ms, left, arm: None, hit: (0, 0), action: 0, is_lost: false });
        }
        for fed in std::mem::take(&mut self.posts[day as usize]) {
            if self.arrives(&fed, day) {
                self.take(fed);
            }
        }
    }

    /// Whether an event is posted, and under the name that the spec has for it.
    fn arrives(&self, fed: &UnitEvent, day: u32) -> bool {
        let UnitEventKind::Row { rows, .. } = fed.what else { return true };
        let of = &self.setup.model(fed.arm).rows[rows];
        let is_dead = matches!(self.setup.assumed, Assumed::DeadFeed { day: dead, .. } if day >= dead);
        let is_misnamed = self.misnamed.is_some() && of.name.as_ref() == self.misnamed;
        of.source != Source::Outcomes || !(is_dead || is_misnamed)
    }

    /// Tells the analysis what a host knows of the feeds.
    fn tell_of_feeds(&mut self, now_ms: u64) {
        let spec = self.setup.spec;
        if let Some(name) = self.misnamed {
            let never = NeverPosted { name: name.to_string().into(), similar: None, was_posted_before: false };
            self.observed.set_never_posted(vec![never]);
        }
        if let Assumed::DeadFeed { day, .. } = self.setup.assumed
            && now_ms > u64::from(day) * DAY
        {
            let names: BTreeSet<&Name> = spec.metrics.iter().flat_map(|metric| metric.outcomes()).collect();
            let heard_ms = Some(u64::from(day) * DAY);
            let dead = |name: &Name| Feed {
                name: name.to_string().into(),
                heard_ms,
                watermark_ms: None,
                usual_gap_ms: DAY,
                outages: Vec::new(),
            };
            self.observed.set_feeds(names.into_iter().map(dead).collect());
        }
    }

    fn name(&mut self, unit: u32) {
        self.id.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.id, "{}{unit}", self.prefix);
    }

    fn decide(&mut self, mut due: Due) {
        if due.arm.is_none() {
            let spec = self.setup.spec;
            self.name(due.unit);
            let in_layer = place(Purpose::Layer, "layer", &self.kind, &self.id);
            let [from, to] = admitted(spec.slot, self.status.coverage(spec));
            if in_layer.is_within(from, to) {
                self.enter(&mut due);
                if due.is_lost {
                    return;
                }
            } else if !in_layer.is_within(spec.slot[0], spec.slot[1]) {
                return;
            }
        }
        if let Some(arm) = due.arm {
            let hits = if due.hit.0 == 0 { due.hit.1 } else { 0 };
            // A hit occurs once: afterwards the count is out of reach.
            due.hit.0 = due.hit.0.wrapping_sub(1);
            let (unit, at_ms, action, batch) = (due.unit, due.at_ms, due.action, self.status.batch());
            self.take(UnitEvent { unit, arm, at_ms, batch, what: UnitEventKind::Decision { action, hits } });
        }
        due.left -= 1;
        due.at_ms += DAY;
        if due.left > 0
            && let Some(day) = self.due.get_mut((due.at_ms / DAY) as usize)
        {
            day.push(due);
        }
    }

    /// Enters a unit: all of its events are drawn.
    fn enter(&mut self, due: &mut Due) {
        let drawn = place(Purpose::Arm, &self.salt, &self.kind, &self.id);
        let Some(arm) = pick(drawn, self.weights.iter().copied()) else { return };
        let setup = self.setup;
        let (assumed, is_tried) = (setup.assumed, arm == setup.tried);
        let draw = &mut self.draw;
        let mut is_among = |share: f64| is_tried && share > 0.0 && (share >= 1.0 || draw.happens(share));
        if is_among(assumed.lost()) {
            due.is_lost = true;
            return;
        }
        let (is_silent, is_reached) = (is_among(assumed.missing()), is_among(assumed.reached()));
        let level = assumed.level(due.at_ms as f64 / (u64::from(setup.days) * DAY) as f64);
        due.arm = Some(arm);
        let model = &setup.models[usize::from(is_reached)];
        for (bit, (_, share)) in model.hits.iter().enumerate() {
            due.hit.1 |= u8::from(self.draw.happens(*share)) << bit;
        }
        if due.hit.1 != 0 {
            due.hit.0 = self.draw.between(0, u64::from(due.left)) as u32;
        }
        due.action = usize::from(self.draw.happens(model.second));
        let (unit, entry_ms, batch) = (due.unit, due.at_ms, self.status.batch());
        let posts = &mut self.posts;
        let mut post = |fed: UnitEvent, day: u64| posts.get_mut(day as usize).into_iter().for_each(|day| day.push(fed));
        for (rows, of) in model.rows.iter().enumerate() {
            // The decision of its entry is the first of all its decisions.
            let mut skip = u32::from(of.source == Source::Decisions && of.name.is_none());
            let is_posted = of.source != Source::Outcomes || !is_silent;
            of.draw(&mut self.draw, entry_ms, level, |value, at_ms| {
                if skip > 0 {
                    skip -= 1;
                } else if is_posted {
                    let what = UnitEventKind::Row { rows, value };
                    post(UnitEvent { unit, arm, at_ms, batch, what }, of.posted_on(at_ms));
                }
            });
        }
        if model.exposes {
            post(UnitEvent { unit, arm, at_ms: entry_ms, batch, what: UnitEventKind::Exposure }, entry_ms / DAY);
        }
    }

    fn take(&mut self, fed: UnitEvent) {
        self.name(fed.unit);
        fed.give(&mut self.observed, &self.id, self.setup);
    }

    /// Carries out what the host does by itself, and a person who follows the verdict, until no
    /// command is left.
    fn look(&mut self, now_ms: u64) -> End {
        self.tell_of_feeds(now_ms);
        loop {
            let analysis = analyse(&self.observed, now_ms);
            let command = match self.follows(&analysis, now_ms) {
                Ok(Some(command)) => command,
                Ok(None) => return End::Open,
                Err(end) => return end,
            };
            if let Some(end) = self.command(&command, now_ms) {
                return end;
            }
        }
    }

    /// The command that follows from an analysis, or the end of the run.
    fn follows(&self, analysis: &Analysis, now_ms: u64) -> Result<Option<Command>, End> {
        let (spec, status) = (self.setup.spec, &self.status);
        let harmful = analysis.guardrails.iter().filter(|rail| rail.status == HarmStatus::Harm);
        // Guardrails that abort come before those that pause. After a pause a person decides.
        if let Some(rail) = harmful.min_by_key(|rail| spec.guardrails[rail.guardrail].on_breach) {
            // An arm that is dropped leaves nothing to try where it is the only one.
            return Err(End::Harm(rail.guardrail));
        }
        if analysis.srm_sequential_p < SRM_ALPHA {
            return Err(End::Unbalanced);
        }
        let winner = analysis.winner.as_ref().and_then(|winner| spec.arms.iter().position(|arm| arm.name == *winner));
        let is_last = status.step + 1 >= spec.ramp.len();
        let is_over = spec.max_duration_ms.is_some_and(|most| now_ms >= most);
        match winner {
            // The host ships at the last step. If the spec does not ship by itself, a person
            // follows the same verdict on any day.
            Some(winner) if is_over || !spec.ships || is_last => return Err(End::Won(winner)),
            _ if is_over => return Err(End::Over),
            _ => {}
        }
        if let Some(allocation) = &spec.allocation
            && now_ms >= status.batch_ms.saturating_add(allocation.update_ms)
            && let Some(weights) = next_shares(&self.observed, now_ms)
        {
            return Ok(Some(Command::Allocate { weights }));
        }
        match status.next(spec, &analysis.evidence(), now_ms) {
            Next::Promote(_) => Ok(Some(Command::Promote)),
            Next::Stay | Next::Wait(_) => Ok(None),
        }
    }

    /// Carries out a command. An impossible one changes nothing.
    fn command(&mut self, command: &Command, now_ms: u64) -> Option<End> {
        let spec = self.setup.spec;
        let Ok(status) = self.status.after(command, spec, now_ms) else { return Some(End::Open) };
        self.status = status;
        debug_assert_eq!(self.status.state, State::Running);
        self.weights = self.status.weights(spec);
        self.salt =
            self.status.batch().map_or_else(|| spec.salt.clone(), |batch| format!("{}/batch/{batch}", spec.salt));
        let course = Course::of(&self.status, &self.kind);
        if !self.observed.continue_with(&course) {
            // The start: no unit has entered before.
            self.observed = Observed::over(Arc::clone(spec), course);
        }
        None
    }
}
