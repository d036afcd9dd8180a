//! Many simulated runs under one assumption, and their summary.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde::Serialize;

use super::draw::Draw;
use super::model::{OutcomeModel, Truth, is_share};
use super::setup::Setup;
use super::simulate::{End, SimulatedRun, run};
use super::{POWER, Traffic};
use crate::experiment::{Experiment, Guardrail, Margin, Role, Watched};

/// The assumption about the treatment arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "assumed")]
pub enum Assumed {
    /// It equals control.
    Nothing,
    /// It is better at every goal, by the effect.
    Effect,
    /// It is better at every goal, and harmful in one guardrail.
    Harm {
        /// Position of the guardrail.
        guardrail: usize,
        /// How much worse than control, in the metric's own unit or as a share of units.
        by: f64,
    },
}

/// A summary of many runs. Shares are of all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// The assumption.
    #[serde(flatten)]
    pub assumed: Assumed,
    /// Runs.
    pub runs: u32,
    /// The share that shipped the better arm. Under [`Assumed::Effect`] this is the power.
    pub won: f64,
    /// The share that shipped an arm that is not better, or is harmful.
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
}

/// The state of a run at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlanPoint {
    /// Days.
    pub day: u32,
    /// Units of all arms that had entered.
    pub units: u64,
}

impl Scenario {
    /// 95 % confidence bounds of a share over this many runs (Wilson).
    pub fn bounds(&self, share: f64) -> [f64; 2] {
        let (n, z) = (f64::from(self.runs.max(1)), 1.96_f64);
        let middle = share + z * z / (2.0 * n);
        let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        [middle - reach, middle + reach].map(|bound| (bound / (1.0 + z * z / n)).clamp(0.0, 1.0))
    }
}

/// The scenarios to simulate; none without a treatment arm.
pub(super) fn all(spec: &Experiment, traffic: &Traffic, tried: Option<usize>, effect: f64) -> Vec<Assumed> {
    if tried.is_none() {
        return Vec::new();
    }
    let has_goal = spec.metrics.iter().any(|metric| metric.role == Role::Goal);
    let better = (has_goal && effect > 0.0).then_some(Assumed::Effect);
    let harm = (0..spec.guardrails.len())
        .map(|guardrail| Assumed::Harm { guardrail, by: worse_by(&spec.guardrails[guardrail], spec, traffic) });
    [Assumed::Nothing].into_iter().chain(better).chain(harm).collect()
}

/// The assumed rate of a rare event: one in a thousand units.
const RARE: f64 = 0.001;
/// The assumed harm where the margin is zero: one percentage point.
const LITTLE: f64 = 0.01;

/// Twice the margin; more than that where the alarm itself lies beyond it.
fn worse_by(guardrail: &Guardrail, spec: &Experiment, traffic: &Traffic) -> f64 {
    let Margin::Difference { margin, is_relative, alarm, .. } = guardrail.margin else { return RARE };
    let known = |at: &usize| Some((&spec.metrics[*at], traffic.baselines.get(*at)?));
    let known = if let Watched::Metric(at) = &guardrail.watched { known(at) } else { None };
    let scale = match (is_relative, known, &guardrail.watched) {
        (false, ..) => 1.0,
        (true, Some((_, baseline)), _) => baseline.mean.abs(),
        (true, None, Watched::Failures | Watched::Fallbacks) => traffic.failures,
        (true, None, _) => 0.0,
    };
    let margin = margin * scale;
    let by = (2.0 * margin).max(alarm + margin);
    if by > 0.0 {
        return by;
    }
    match known {
        Some((metric, baseline)) if !is_share(metric, baseline) => {
            // A tenth of a unit's standard deviation, if known.
            0.1 * baseline.sd.unwrap_or(baseline.mean.abs())
        }
        _ => LITTLE,
    }
}

fn truth(spec: &Experiment, assumed: Assumed, effect: f64) -> Truth {
    let mut truth = Truth { effects: vec![0.0; spec.metrics.len()], hits: None };
    if assumed == Assumed::Nothing {
        return truth;
    }
    for (metric, of) in spec.metrics.iter().zip(&mut truth.effects).filter(|(metric, _)| metric.role == Role::Goal) {
        *of = if metric.more_is_better { effect } else { -effect };
    }
    if let Assumed::Harm { guardrail, by } = assumed {
        let guardrail = &spec.guardrails[guardrail];
        match (&guardrail.watched, guardrail.margin) {
            (Watched::Metric(at), Margin::Difference { more_is_harm: false, .. }) => truth.effects[*at] = -by,
            (Watched::Metric(at), _) => truth.effects[*at] = by,
            (watched, _) => truth.hits = Some((watched.clone(), by)),
        }
    }
    truth
}

/// Which runs, and the effect if one is assumed.
#[derive(Clone, Copy)]
pub(super) struct Seeds {
    pub effect: f64,
    pub seed: u64,
    pub runs: u32,
    pub days: u32,
}

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
        models: [model(&Truth::default()), model(&truth(spec, *assumed, seeds.effect))],
    };
    let setups: Vec<Setup<'_>> = assumed.iter().map(setup).collect();
    let (runs, jobs) = (seeds.runs as usize, assumed.len() * seeds.runs as usize);
    let (next, (sender, receiver)) = (AtomicUsize::new(0), mpsc::channel());
    let mut ran: Vec<Option<SimulatedRun>> = vec![None; jobs];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (sender, next, setups) = (sender.clone(), &next, &setups);
            scope.spawn(move || {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some(setup) = setups.get(job / runs) else { return };
                    // The receiver outlives all senders, so sending cannot fail.
                    let (ran, _) = run(setup, Draw(seeds.seed ^ Draw(job as u64).bits()).bits());
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
    let of = |at: usize| ran[at * runs..(at + 1) * runs].iter().flatten().copied().collect::<Vec<_>>();
    assumed.iter().enumerate().map(|(at, assumed)| sum(spec, *assumed, tried, &of(at))).collect()
}

fn sum(spec: &Experiment, assumed: Assumed, tried: usize, ran: &[SimulatedRun]) -> Scenario {
    let share =
        |is: &dyn Fn(&SimulatedRun) -> bool| ran.iter().filter(|one| is(one)).count() as f64 / ran.len().max(1) as f64;
    let is_right = |one: &SimulatedRun| match assumed {
        Assumed::Nothing => false,
        Assumed::Effect => one.end == End::Won(tried),
        Assumed::Harm { .. } => matches!(one.end, End::Harm(_)),
    };
    let won = share(&|one| assumed == Assumed::Effect && one.end == End::Won(tried));
    let reached = |part: f64| {
        // Runs that have not reached it sort last.
        let at = (part * ran.len() as f64).ceil() as usize;
        let right = || ran.iter().filter(|one| is_right(one));
        let (mut days, mut units): (Vec<_>, Vec<_>) = right().map(|one| (one.days, one.entered)).unzip();
        days.sort_unstable();
        units.sort_unstable();
        let at = at.checked_sub(1)?;
        Some(PlanPoint { day: *days.get(at)?, units: *units.get(at)? })
    };
    Scenario {
        assumed,
        runs: ran.len() as u32,
        won,
        false_wins: share(&|one| matches!(one.end, End::Won(arm) if assumed != Assumed::Effect || arm != tried)),
        stopped: share(&|one| matches!(one.end, End::Harm(_))),
        stopped_by: (0..spec.guardrails.len()).map(|rail| share(&|one| one.end == End::Harm(rail))).collect(),
        unbalanced: share(&|one| one.end == End::Unbalanced),
        over: share(&|one| one.end == End::Over),
        open: share(&|one| one.end == End::Open),
        stuck: share(&|one| matches!(one.end, End::Open | End::Over) && !one.at_last_step),
        mean_days: ran.iter().map(|one| f64::from(one.days)).sum::<f64>() / ran.len().max(1) as f64,
        median: reached(0.5),
        p80: reached(POWER),
    }
}
