//! Many simulated runs in one world, and their summary.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde::Serialize;

use super::draw::Draw;
use super::model::{OutcomeModel, Truth};
use super::setup::Setup;
use super::simulate::{End, SimulatedRun, run};
use super::world::Assumed;
use super::{DAY, POWER, Traffic};
use crate::analysis::analyse;
use crate::experiment::Experiment;

/// A summary of many runs. Shares are of all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// The world.
    #[serde(flatten)]
    pub assumed: Assumed,
    /// Runs.
    pub runs: u32,
    /// The share that ended as it should: see [`Scenario::should`].
    pub right: f64,
    /// The share that shipped the better arm. Under [`Assumed::Effect`] this is the power.
    pub won: f64,
    /// The share that shipped an arm that is not better or is harmful, or shipped on broken data.
    pub false_wins: f64,
    /// The share that a guardrail stopped. If no harm is assumed, these are false alarms.
    pub stopped: f64,
    /// The same by guardrail, in the spec's order.
    pub stopped_by: Vec<f64>,
    /// The share that was paused for a sample ratio mismatch.
    pub unbalanced: f64,
    /// The share that ran for `max_duration` without a winner.
    pub over: f64,
    /// The share that would still be running.
    pub open: f64,
    /// The share that ended before the ramp's last step without a winner and without harm.
    pub stuck: f64,
    /// Days until a run ended, on average.
    pub mean_days: f64,
    /// When half of all runs had reached the correct conclusion: shipped under an effect, stopped
    /// under harm. None if fewer did, or if no conclusion is correct.
    pub median: Option<PlanPoint>,
    /// The same for 80 % of all runs.
    pub p80: Option<PlanPoint>,
    /// The verdict at the end of a run that ended as most runs did.
    pub concludes: String,
}

/// The state of a run at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlanPoint {
    /// Days.
    pub day: u32,
    /// Units of all arms that had entered.
    pub units: u64,
}

/// What is correct in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Should {
    /// Ship the treatment.
    Ship,
    /// Stop for harm.
    Stop,
    /// Pause for a sample ratio mismatch.
    Pause,
    /// Neither ship nor stop.
    Neither,
    /// Not ship. Whether it waits or stops is the spec's own choice.
    NotShip,
    /// Not ship once it is noticed that the feed died.
    NotShipLater,
}

impl Scenario {
    /// What is correct in its world.
    pub fn should(&self) -> Should {
        should(self.assumed)
    }

    /// 95 % confidence bounds of a share over this many runs (Wilson).
    pub fn bounds(&self, share: f64) -> [f64; 2] {
        let (n, z) = (f64::from(self.runs.max(1)), 1.96_f64);
        let middle = share + z * z / (2.0 * n);
        let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        [middle - reach, middle + reach].map(|bound| (bound / (1.0 + z * z / n)).clamp(0.0, 1.0))
    }
}

/// Which runs, and the effect if one is assumed.
#[derive(Clone, Copy)]
pub(super) struct Seeds {
    pub effect: f64,
    pub seed: u64,
    pub runs: u32,
    pub days: u32,
}

/// The fewest runs for meaningful shares.
pub(super) const FEWEST_RUNS: u32 = 20;
/// Threads that share the runs. A run depends only on its own seed.
const THREADS: usize = 2;

pub(super) fn simulate(
    spec: &Arc<Experiment>,
    traffic: &Traffic,
    tried: Option<usize>,
    assumed: &[Assumed],
    seeds: Seeds,
    progress: &mut dyn FnMut(u32, u32),
) -> Vec<Scenario> {
    let Some(tried) = tried else { return Vec::new() };
    let model = |truth: &Truth| OutcomeModel::of(spec, traffic, truth);
    let setup = |assumed: &Assumed| Setup {
        spec,
        traffic,
        days: seeds.days,
        tried,
        assumed: *assumed,
        models: [model(&Truth::default()), model(&assumed.truth(spec, seeds.effect))],
    };
    let setups: Vec<Setup<'_>> = assumed.iter().map(setup).collect();
    // The first job of each world, and the end of the last one.
    let mut begins = vec![0];
    begins.extend(assumed.iter().scan(0, |all, assumed| {
        *all += runs_of(*assumed, seeds.runs) as usize;
        Some(*all)
    }));
    let jobs = begins[assumed.len()];
    let of_job = |seed: u64, job: usize| Draw(seed ^ Draw(job as u64).bits()).bits();
    let (next, (sender, receiver)) = (AtomicUsize::new(0), mpsc::channel());
    let mut ran: Vec<Option<SimulatedRun>> = vec![None; jobs];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (sender, next, setups, begins) = (sender.clone(), &next, &setups, &begins);
            scope.spawn(move || {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some(setup) = setups.get(begins.partition_point(|begin| *begin <= job) - 1) else { return };
                    // The receiver outlives all senders, so sending cannot fail.
                    let (ran, _) = run(setup, of_job(seeds.seed, job));
                    let _ = sender.send((job, ran));
                }
            });
        }
        drop(sender);
        for (done, (job, one)) in receiver.iter().enumerate() {
            ran[job] = Some(one);
            progress(done as u32 + 1, jobs as u32);
        }
    });
    let summary = |(at, setup): (usize, &Setup<'_>)| {
        let ran: Vec<SimulatedRun> = ran[begins[at]..begins[at + 1]].iter().flatten().copied().collect();
        let mut sum = sum(spec, setup.assumed, tried, &ran);
        sum.concludes =
            typical(&ran).map(|typical| verdict(setup, of_job(seeds.seed, begins[at] + typical))).unwrap_or_default();
        sum
    };
    setups.iter().enumerate().map(summary).collect()
}

/// The position of the first run that ended as most runs did.
fn typical(ran: &[SimulatedRun]) -> Option<usize> {
    let as_often = |one: &SimulatedRun| ran.iter().filter(|other| other.end == one.end).count();
    // Of equals `max_by_key` takes the last.
    (0..ran.len()).rev().max_by_key(|at| as_often(&ran[*at]))
}

/// The verdict at the end of a run, which is run again for it.
fn verdict(setup: &Setup<'_>, seed: u64) -> String {
    let (ran, observed) = run(setup, seed);
    let verdict = analyse(&observed, u64::from(ran.days) * DAY).verdict;
    format!("{}: {}", verdict.decision.as_str(), verdict.why)
}

/// Runs in a world: fewer where data are broken, because the end hardly depends on chance there.
pub(super) fn runs_of(assumed: Assumed, runs: u32) -> u32 {
    if assumed.is_side() { runs.min((runs / 4).max(FEWEST_RUNS)) } else { runs }
}

fn should(assumed: Assumed) -> Should {
    match assumed {
        Assumed::Nothing | Assumed::Drift => Should::Neither,
        Assumed::Effect | Assumed::OneSegment => Should::Ship,
        Assumed::Harm { .. } => Should::Stop,
        Assumed::BrokenSplit => Should::Pause,
        Assumed::DeadFeed { .. } => Should::NotShipLater,
        Assumed::Conflict { .. } | Assumed::WrongName { .. } | Assumed::HalfMissing => Should::NotShip,
    }
}

fn sum(spec: &Experiment, assumed: Assumed, tried: usize, ran: &[SimulatedRun]) -> Scenario {
    let share =
        |is: &dyn Fn(&SimulatedRun) -> bool| ran.iter().filter(|one| is(one)).count() as f64 / ran.len().max(1) as f64;
    let should = should(assumed);
    // The treatment is better, and the data that say so are sound.
    let ships_rightly = |one: &SimulatedRun| {
        let is_in_time = !matches!(assumed, Assumed::DeadFeed { noticed, .. } if one.days > noticed);
        one.end == End::Won(tried) && assumed.is_better() && is_in_time
    };
    let ships_wrongly = |one: &SimulatedRun| matches!(one.end, End::Won(_)) && !ships_rightly(one);
    let is_right = |one: &SimulatedRun| match should {
        Should::Ship => ships_rightly(one),
        Should::Stop => matches!(one.end, End::Harm(_)),
        Should::Pause => one.end == End::Unbalanced,
        Should::Neither => matches!(one.end, End::Open | End::Over),
        Should::NotShip | Should::NotShipLater => !ships_wrongly(one),
    };
    let is_conclusion = matches!(should, Should::Ship | Should::Stop | Should::Pause);
    let reached = |part: f64| {
        // Runs that have not reached it sort last.
        let at = (part * ran.len() as f64).ceil() as usize;
        let right = || ran.iter().filter(|one| is_conclusion && is_right(one));
        let (mut days, mut units): (Vec<_>, Vec<_>) = right().map(|one| (one.days, one.entered)).unzip();
        days.sort_unstable();
        units.sort_unstable();
        let at = at.checked_sub(1)?;
        Some(PlanPoint { day: *days.get(at)?, units: *units.get(at)? })
    };
    Scenario {
        assumed,
        runs: ran.len() as u32,
        right: share(&is_right),
        won: share(&ships_rightly),
        false_wins: share(&ships_wrongly),
        stopped: share(&|one| matches!(one.end, End::Harm(_))),
        stopped_by: (0..spec.guardrails.len()).map(|rail| share(&|one| one.end == End::Harm(rail))).collect(),
        unbalanced: share(&|one| one.end == End::Unbalanced),
        over: share(&|one| one.end == End::Over),
        open: share(&|one| one.end == End::Open),
        stuck: share(&|one| matches!(one.end, End::Open | End::Over) && !one.at_last_step),
        mean_days: ran.iter().map(|one| f64::from(one.days)).sum::<f64>() / ran.len().max(1) as f64,
        median: reached(0.5),
        p80: reached(POWER),
        concludes: String::new(),
    }
}
