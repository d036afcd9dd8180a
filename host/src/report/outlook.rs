//! The outlook of an experiment: what follows, its ramp, its progress, and whether its data are sound.

use serde::{Deserialize, Serialize};
use serin_core::analysis::{Analysis, Decide, MetricResult, Observed, SRM_ALPHA, baseline};
use serin_core::experiment::{Experiment, Gate, Next as Advance, Role, State, Status, Step, Watched};
use serin_core::numbers::grouped;
use serin_core::plan::{Baseline, Traffic, detectable_as_analysed};

use super::formatting::{duration, minute};
use super::rounding::{counted, percent};
use super::{Allocation, rfc3339};

const DAY_MS: f64 = 86_400_000.0;
/// The time that a pace is told from, in milliseconds.
const LEAST_PACE_MS: f64 = 60_000.0;

/// What follows, the ramp, the progress and the checks. All of it is absent in reports of older hosts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlook {
    /// When the experiment started.
    pub started_at: Option<String>,
    /// What happens next.
    pub next: Option<NextStep>,
    /// The ramp; none once a winner has shipped.
    pub ramp: Option<Ramp>,
    /// The batch in force; none with fixed shares, and once a winner has shipped.
    pub allocation: Option<Allocation>,
    /// How far the first goal is towards its planned units; none without a goal, with adaptive shares,
    /// and once a winner has shipped.
    pub progress: Option<Progress>,
    /// Whether the data are sound.
    pub checks: Vec<Check>,
}

/// What happens next.
#[derive(Debug, Serialize, Deserialize)]
pub struct NextStep {
    /// What, as a sentence without a period.
    pub what: String,
    /// The earliest time, where it is known.
    pub when: Option<String>,
}

/// A ramp.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ramp {
    /// The current step, counted from 1.
    pub step: usize,
    /// Units that have entered.
    pub units: u64,
    /// The steps.
    pub steps: Vec<RampStep>,
}

/// A step of a ramp.
#[derive(Debug, Serialize, Deserialize)]
pub struct RampStep {
    /// The share of the slot in use, from 0 to 1.
    pub coverage: f64,
    /// How long it lasts at least, in milliseconds.
    pub hold_ms: u64,
    /// Units that must have entered before the next step.
    pub min_units: u64,
    /// The evidence that the next step asks for: `fast` or `non_inferior`.
    pub gate: Option<String>,
}

/// How far a goal is towards its planned units.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The goal.
    pub metric: String,
    /// The planned units, of control and one arm.
    pub planned: u64,
    /// Of them, those that are mature, in the arm with the fewest.
    pub mature: u64,
    /// Days until the planned units are mature, at the pace so far; none if no unit enters, or in
    /// the first minute.
    pub days_left: Option<f64>,
    /// The smallest effect that the planned units find with a power of 80 %, in the metric's unit. It
    /// follows from the mean and the deviation of all units, never from the observed effect.
    pub detectable: Option<f64>,
    /// The same as a share of the mean.
    pub detectable_relative: Option<f64>,
}

/// Whether the data are sound in one respect.
#[derive(Debug, Serialize, Deserialize)]
pub struct Check {
    /// `split` (sample ratio mismatch), `left_in` (who is in a metric), `feeds` or `ledger`.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, as a sentence without a period.
    pub says: String,
}

impl Outlook {
    pub(super) fn of(observed: &Observed, analysis: &Analysis, status: &Status, now_ms: u64) -> Self {
        let spec = &observed.spec;
        let shipped = status.served.is_some();
        Self {
            started_at: status.started_ms.map(rfc3339),
            next: NextStep::of(spec, analysis, status, now_ms),
            ramp: Some(Ramp::of(spec, analysis, status)).filter(|_| !shipped),
            allocation: Allocation::of(spec, status).filter(|_| !shipped),
            progress: Progress::of(observed, analysis, status, now_ms).filter(|_| !shipped),
            checks: Check::all(observed, analysis),
        }
    }
}

impl super::Report {
    /// This report where nobody enters, since the experiment's file is gone or does not fit the deployment.
    pub fn standing_still(mut self) -> Self {
        let what = "nothing by itself: its file is gone or not applied, so nobody enters, and its ramp stands still; put \
                    the file back, or abort it";
        self.outlook.next = Some(NextStep { what: what.to_owned(), when: None });
        self
    }
}

impl NextStep {
    fn of(spec: &Experiment, analysis: &Analysis, status: &Status, now_ms: u64) -> Option<Self> {
        let say = |what: String| Some(Self { what, when: None });
        match status.state {
            State::Draft => None,
            State::Aborted | State::Concluded => {
                say("nothing: the experiment has ended, and new decisions use the pinned strategy".to_owned())
            }
            State::Shipped => {
                let less = match spec.holdback > 0.0 {
                    true => format!("the winner serves the slot, less a holdback of {},", percent(spec.holdback)),
                    false => "the winner serves the whole slot".to_owned(),
                };
                say(format!(
                    "{less} until the decision point is pinned to another version; that concludes the experiment"
                ))
            }
            State::Paused => {
                let until = if status.withdrawn { "; until then the pinned strategy serves everyone" } else { "" };
                say(format!("a person decides: {}{until}", status.either(spec)))
            }
            State::Running => Some(Self::running(spec, analysis, status, now_ms)),
        }
    }

    fn running(spec: &Experiment, analysis: &Analysis, status: &Status, now_ms: u64) -> Self {
        let at_once = |what: &str| Self { what: what.to_owned(), when: None };
        let is_last = status.step + 1 >= spec.ramp.len();
        if analysis.verdict.decision == Decide::Stop {
            return at_once("the host acts on this verdict at its next look, within seconds");
        }
        match (&analysis.winner, spec.ships) {
            (Some(winner), true) if is_last => {
                return at_once(&format!("the host ships arm '{winner}' at its next look"));
            }
            (Some(winner), false) => {
                return at_once(&format!("a person concludes it with winner '{winner}', or lets it run on"));
            }
            _ => {}
        }
        match (spec.ramp.get(status.step), spec.ramp.get(status.step + 1)) {
            (Some(step), Some(next)) => Self::promotion(spec, (step, next), analysis, status, now_ms),
            _ => Self::last_step(spec, analysis, status, now_ms),
        }
    }

    /// The next step of the ramp, and what it waits for.
    fn promotion(
        spec: &Experiment,
        (step, next): (&Step, &Step),
        analysis: &Analysis,
        status: &Status,
        now_ms: u64,
    ) -> Self {
        let evidence = analysis.evidence();
        let mut needs = Vec::new();
        if step.hold_ms > 0 {
            needs.push(format!("this one has lasted {}", duration(step.hold_ms)));
        }
        if step.min_units > 0 {
            needs.push(format!("{} units have entered ({} so far)", grouped(step.min_units), grouped(evidence.units)));
        }
        match step.gate {
            Gate::None => {}
            Gate::Fast => needs.push("no guardrail shows harm".to_owned()),
            Gate::NonInferior => needs.push("every guardrail holds on mature outcomes".to_owned()),
        }
        let earliest = status.since_ms.saturating_add(step.hold_ms);
        let is_held = now_ms >= earliest;
        let now = match status.next(spec, &evidence, now_ms) {
            Advance::Wait(why) if is_held => format!("; it waits: {why}"),
            _ => String::new(),
        };
        let (step, steps) = (status.step + 2, spec.ramp.len());
        let coverage = percent(next.coverage);
        let once = match needs.is_empty() {
            true => "at the host's next look".to_owned(),
            false => format!("once {}", needs.join(" and ")),
        };
        Self {
            what: format!("step {step} of {steps}, {coverage} of the slot, {once}{now}"),
            when: (!is_held).then(|| rfc3339(earliest)),
        }
    }

    /// At the ramp's last step.
    fn last_step(spec: &Experiment, analysis: &Analysis, status: &Status, now_ms: u64) -> Self {
        let started = status.started_ms.unwrap_or(now_ms);
        let from = started.saturating_add(spec.min_duration_ms);
        let batch = Allocation::of(spec, status).and_then(|now| Some((now.batch + 1, minute(&now.next_at?))));
        let batch = batch.map(|(next, at)| format!("batch {next} begins on {at}, with shares computed anew; "));
        let open = nothing_ships(spec, analysis);
        let what = match (&open, spec.ships) {
            (Some(why), _) => why,
            (None, true) => "the host ships the best arm that qualifies",
            (None, false) => "it runs on until an arm qualifies; then a person concludes it",
        };
        let end = spec.max_duration_ms.map(|most| minute(&rfc3339(started.saturating_add(most))));
        let end = end.map(|end| format!("; the host concludes it on {end} at the latest"));
        Self {
            what: [batch.as_deref(), Some(what), end.as_deref()].into_iter().flatten().collect(),
            when: (open.is_none() && from > now_ms).then(|| rfc3339(from)),
        }
    }
}

/// Why waiting alone ships no arm; none where it may.
fn nothing_ships(spec: &Experiment, analysis: &Analysis) -> Option<String> {
    let declared = || analysis.metrics.iter().filter(|found| !found.exploratory);
    if !declared().any(|found| spec.metrics[found.metric].role == Role::Goal) {
        return Some("guardrails act on harm, and it runs on until a person concludes it".to_owned());
    }
    if !analysis.forbids.is_empty() {
        return Some("nothing ships until what forbids shipping is put right".to_owned());
    }
    let is_bounded = |at: usize| {
        spec.metrics[at].tolerate.is_some() || spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(at))
    };
    let held = analysis.arms.iter().filter(|arm| arm.decision == Decide::Hold);
    let conflict = |arm: &serin_core::Name| {
        let of_arm = || declared().filter_map(|metric| Some((metric.metric, metric.of_arm(arm)?)));
        let has_won = of_arm().any(|(at, comparison)| {
            spec.metrics[at].role == Role::Goal && comparison.found.as_ref().is_ok_and(|found| found.better)
        });
        let worse = of_arm().find(|(at, comparison)| comparison.is_worse && !is_bounded(*at));
        worse.filter(|_| has_won).map(|(at, _)| &spec.metrics[at].name)
    };
    let (arm, metric) = held.into_iter().find_map(|arm| Some((&arm.arm, conflict(&arm.arm)?)))?;
    Some(format!(
        "arm '{arm}' does not ship while it is significantly worse at '{metric}'; a person decides, or it runs on"
    ))
}

impl Ramp {
    fn of(spec: &Experiment, analysis: &Analysis, status: &Status) -> Self {
        let gate = |gate| match gate {
            Gate::None => None,
            Gate::Fast => Some("fast".to_owned()),
            Gate::NonInferior => Some("non_inferior".to_owned()),
        };
        let step = |step: &Step| RampStep {
            coverage: step.coverage,
            hold_ms: step.hold_ms,
            min_units: step.min_units,
            gate: gate(step.gate),
        };
        let steps: Vec<_> = spec.ramp.iter().map(step).collect();
        // An edit may have removed the current step.
        Self { step: (status.step + 1).min(steps.len()), units: analysis.entered, steps }
    }
}

impl Progress {
    fn of(observed: &Observed, analysis: &Analysis, status: &Status, now_ms: u64) -> Option<Self> {
        let spec = &observed.spec;
        if spec.allocation.is_some() {
            return None;
        }
        let goal = analysis.metrics.iter().find(|found| spec.metrics[found.metric].role == Role::Goal)?;
        let metric = &spec.metrics[goal.metric];
        let (arm, mature) = Self::slowest(observed, goal)?;
        let planned = metric.planned_units;
        let (detectable, mean) = Self::detectable(observed, goal.metric, now_ms).unzip();
        let left = match mature >= planned {
            true => Some(0.0),
            false => Self::days_left(observed, arm, (planned, metric.mature_ms(0)), status, now_ms),
        };
        Some(Self {
            metric: metric.name.to_string(),
            planned,
            mature,
            days_left: left.filter(|days| days.is_finite()),
            detectable,
            detectable_relative: detectable
                .zip(mean)
                .map(|(effect, mean)| effect / mean.abs())
                .filter(|x| x.is_finite()),
        })
    }

    /// The arm that has the fewest mature units together with control, and how many they are.
    fn slowest(observed: &Observed, goal: &MetricResult) -> Option<(usize, u64)> {
        let control = observed.spec.control_at();
        let arms = (0..observed.spec.arms.len()).filter(|arm| *arm != control && !observed.is_dropped(*arm));
        let units = |arm: usize| goal.arms.get(arm).map_or(0, |found| found.units);
        arms.map(|arm| (arm, units(control) + units(arm))).min_by_key(|(_, units)| *units)
    }

    /// Days until the planned units of control and `arm` are mature.
    fn days_left(
        observed: &Observed,
        arm: usize,
        (planned, mature_ms): (u64, u64),
        status: &Status,
        now_ms: u64,
    ) -> Option<f64> {
        // What has ended is evaluated as of its end.
        if status.state.is_ended() {
            return None;
        }
        let control = observed.spec.control_at();
        let mut entered = observed.units().iter().filter(|unit| unit.arm == control || unit.arm == arm);
        let so_far = entered.clone().count() as u64;
        if let Some(last) = planned.checked_sub(1).and_then(|at| entered.nth(at as usize)) {
            return Some(last.entry_ms.saturating_add(mature_ms).saturating_sub(now_ms) as f64 / DAY_MS);
        }
        let ran = now_ms.saturating_sub(status.started_ms?) as f64;
        if so_far == 0 || ran < LEAST_PACE_MS || !status.state.takes_units() {
            return None;
        }
        Some(((planned - so_far) as f64 * ran / so_far as f64 + mature_ms as f64) / DAY_MS)
    }

    /// The detectable effect of the first goal, and the mean that it is judged by.
    fn detectable(observed: &Observed, goal: usize, now_ms: u64) -> Option<(f64, f64)> {
        let of = |at: usize| {
            let (mean, sd) = baseline(observed, at, now_ms)?;
            Some(Baseline { mean, sd })
        };
        let known = of(goal)?;
        // Only the first goal's baseline is used.
        let baselines = vec![known; observed.spec.metrics.len()];
        let traffic = Traffic { units_per_day: 0.0, decisions_per_unit: 1.0, baselines, failures: 0.0 };
        let effect = detectable_as_analysed(&observed.spec, &traffic)?;
        (effect > 0.0 && effect.is_finite()).then_some((effect, known.mean))
    }
}

impl Check {
    fn all(observed: &Observed, analysis: &Analysis) -> Vec<Self> {
        let lopsided: Vec<&str> = analysis.metrics.iter().flat_map(|m| &m.lopsided).map(String::as_str).collect();
        let never = observed.never_posted();
        let never = never.iter().map(serin_core::analysis::NeverPosted::describe);
        let silent =
            analysis.feeds.iter().filter(|feed| feed.is_silent()).map(serin_core::analysis::FeedResult::describe);
        let never: Vec<String> = never.chain(silent).collect();
        let is_balanced = analysis.srm_sequential_p >= SRM_ALPHA;
        let check = |name: &str, ok, says: String| Self { name: name.to_owned(), ok, says };
        vec![
            check("split", is_balanced, split(analysis)),
            check(
                "left_in",
                lopsided.is_empty(),
                match lopsided.is_empty() {
                    true => "no arm changes which units are in a metric".to_owned(),
                    false => lopsided.join("; "),
                },
            ),
            check(
                "feeds",
                never.is_empty(),
                match never.is_empty() {
                    true => "every outcome that a metric names is posted".to_owned(),
                    false => never.join("; "),
                },
            ),
            check(
                "ledger",
                !analysis.is_unreadable,
                observed.unreadable_rows().map_or_else(|| "every row can be read".to_owned(), |rows| rows.describe()),
            ),
        ]
    }
}

fn split(analysis: &Analysis) -> String {
    let units = counted(analysis.counts.iter().sum(), "unit");
    let p = super::formatting::p_is(Some(analysis.srm_sequential_p));
    if analysis.srm_sequential_p >= SRM_ALPHA {
        return format!("{units} fall to the arms as the weights say (sequential {p})");
    }
    format!("{units} do not fall to the arms as the weights say (sequential {p}): no result can be trusted")
}
