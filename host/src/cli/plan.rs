//! `serin experiment plan`: what an experiment needs and what it can show, before it is run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serin_core::analysis::{Course, Decision, Happened, Observed, Place, baseline as observed_baseline};
use serin_core::experiment::{Experiment, Quantity};
use serin_core::plan::{Assumed, Baseline, Needed, POWER, Plan, Scenario, Should, Traffic, detectable, plan};

use super::{Format, Outcome, PlanArgs, progress};
use crate::clock::{Budget, Clock as _, SystemClock};
use crate::config::Config;
use crate::files;
use crate::ledger::{Cursor, Fact, LedgerReader};

type Failure = Box<dyn std::error::Error>;

const DAY_MS: u64 = 86_400_000;
/// How often progress is told without a terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Days of the ledger that traffic is taken from: four whole weeks.
const TRAFFIC_DAYS: u64 = 28;
/// Rows of the ledger that are read at once.
const ROWS: i64 = 100_000;

/// What a metric comes to, as it is given on the command line.
#[derive(Debug, Clone)]
pub(super) struct Base {
    metric: String,
    mean: f64,
    sd: Option<f64>,
}

/// Reads `METRIC=MEAN[:SD]`.
pub(super) fn baseline(text: &str) -> Result<Base, String> {
    let valid = "valid: METRIC=MEAN or METRIC=MEAN:SD, like cured_14d=0.31 or paid=120:85";
    let (metric, numbers) = text.split_once('=').ok_or(valid)?;
    let number = |text: &str| text.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or(valid);
    let (mean, sd) = match numbers.split_once(':') {
        Some((mean, sd)) => (number(mean)?, Some(number(sd)?).filter(|sd| *sd > 0.0)),
        None => (number(numbers)?, None),
    };
    Ok(Base { metric: metric.to_owned(), mean, sd })
}

/// Reads a number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "valid: a number above 0, like 500".to_owned())
}

/// What is known of the traffic, from wherever it is known.
#[derive(Default)]
struct KnownTraffic {
    units_per_day: Option<f64>,
    decisions_per_unit: Option<f64>,
    failures: Option<f64>,
    baselines: HashMap<String, Baseline>,
}

pub(super) fn run(args: &PlanArgs) -> Outcome {
    let text =
        files::read_text(&args.file, files::MAX_TEXT_BYTES).map_err(|e| format!("{}: {e}", args.file.display()))?;
    let spec = serin_core::caught(|| Experiment::parse(&text)).map_err(|e| format!("{}: {e}", args.file.display()))?;
    let spec = Arc::new(spec);
    let mut known = match &args.config {
        Some(config) => of_ledger(config, &spec)?,
        None => KnownTraffic::default(),
    };
    known.units_per_day = args.units_per_day.or(known.units_per_day);
    for base in &args.base {
        if base.metric == "failures" {
            known.failures = Some(base.mean);
        } else if spec.metrics.iter().any(|metric| *metric.name == *base.metric) {
            known.baselines.insert(base.metric.clone(), Baseline { mean: base.mean, sd: base.sd });
        } else {
            let names = spec.metrics.iter().map(|metric| &*metric.name).chain(["failures"]);
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(format!("--base {}: no such metric; valid: {names}", base.metric).into());
        }
    }
    let traffic = traffic(&spec, &known)?;
    let effect = args.effect.or_else(|| detectable(&spec, &traffic)).unwrap_or(0.0);
    let bar = progress(Some(1), "experiments simulated");
    let mut told = Budget::new(TELL_EVERY);
    let plan = plan(&spec, &traffic, effect, args.runs, args.days, args.seed, &mut |done, of| {
        bar.set_length(of.into());
        bar.set_position(done.into());
        // Without a terminal there is no bar, and a silent program looks hung.
        if bar.is_hidden() && told.left().is_zero() {
            eprintln!("simulating: {done} of {of} experiments are done");
            told = Budget::new(TELL_EVERY);
        }
    });
    bar.finish_and_clear();
    match args.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&as_json(&spec, &traffic, effect, &plan))?),
        Format::Text => print_plan(&spec, &traffic, effect, &plan),
    }
    Ok(true)
}

/// What the ledger's last four weeks say of the units at the decision point.
fn of_ledger(config: &Path, spec: &Arc<Experiment>) -> Result<KnownTraffic, Failure> {
    let config = Config::load(config)?;
    let point = config.points.get(&spec.decision_point);
    let point =
        point.ok_or_else(|| format!("decision point '{}' is not in {}", spec.decision_point, config.path.display()))?;
    let ledger = LedgerReader::open(&config.fixed.ledger)?;
    let now_ms = SystemClock.now_ms();
    let since_ms = now_ms.saturating_sub(TRAFFIC_DAYS * DAY_MS);
    // Everybody is in one arm: whoever was decided about, inside an experiment or not.
    let course = Course { unit: point.layer.unit.clone(), ..Course::default() };
    let mut observed = Observed::over(Arc::clone(spec), course);
    let (decisions, first_ms) = read_decisions(&ledger, &mut observed, &spec.decision_point, since_ms)?;
    read_outcomes(&ledger, &mut observed, &point.layer.unit)?;
    let units = observed.units().len() as f64;
    if units == 0.0 {
        return Ok(KnownTraffic::default());
    }
    let days = (now_ms - first_ms.unwrap_or(now_ms)) as f64 / DAY_MS as f64;
    let failed = observed.units().iter().filter(|unit| unit.failed).count() as f64;
    let baselines = spec.metrics.iter().enumerate().filter_map(|(at, metric)| {
        let (mean, sd) = observed_baseline(&observed, at, now_ms)?;
        Some((metric.name.to_string(), Baseline { mean, sd }))
    });
    Ok(KnownTraffic {
        // Less than a day of traffic says little of a day.
        units_per_day: Some(units / days.max(1.0)),
        decisions_per_unit: Some(decisions as f64 / units),
        failures: Some(failed / units),
        baselines: baselines.collect(),
    })
}

/// Reads a point's decisions since a time: how many there are, and when the first one was made.
fn read_decisions(
    ledger: &LedgerReader,
    observed: &mut Observed,
    point: &str,
    since_ms: u64,
) -> Result<(u64, Option<u64>), Failure> {
    let (mut decisions, mut first_ms) = (0_u64, None);
    let control = observed.spec.control.clone();
    let unreadable = ledger.unit_facts(point, since_ms, |fact| {
        decisions += 1;
        first_ms = Some(first_ms.map_or(fact.time_ms, |first: u64| first.min(fact.time_ms)));
        observed.decision(&Decision {
            // Everything in the ledger counts, whenever it was stored.
            place: 0,
            unit: fact.unit,
            arm: &control,
            time_ms: fact.time_ms,
            action: fact.action,
            outcome: fact.outcome,
            fell_back: false,
            took_us: 0,
            forced: false,
            batch: None,
            attributes: None,
        });
    })?;
    if unreadable > 0 {
        eprintln!("{unreadable} rows of the ledger cannot be read, and are left out");
    }
    Ok((decisions, first_ms))
}

/// A baseline counts what happened, however late it was posted: the past is often loaded from a file.
fn baseline_row(unit: &str, at_ms: u64, after: Place) -> Happened<'_> {
    Happened { unit, at_ms, received_ms: at_ms, after }
}

/// Reads all outcomes and exposures of a kind of unit.
fn read_outcomes(ledger: &LedgerReader, observed: &mut Observed, unit: &str) -> Result<(), Failure> {
    ledger.snapshot(|snapshot| {
        let mut cursor = Cursor::default();
        let mut take = |fact: Fact<'_>| match fact {
            Fact::Outcome(fact) if fact.kind.is_none_or(|kind| *kind == *unit) => {
                let happened = baseline_row(fact.unit, fact.at_ms, fact.after);
                match fact.is_reversed {
                    true => observed.reversal(&happened, fact.name, fact.value),
                    false => observed.outcome(&happened, fact.name, fact.value),
                }
            }
            // Nobody is in this experiment yet: what other ones exposed stands for what it will.
            Fact::Exposure(fact) => {
                observed.exposure(&baseline_row(fact.unit, fact.at_ms, fact.after));
            }
            Fact::Decision(_) | Fact::Excluded(_) | Fact::Outcome(_) | Fact::Unreadable(_) => {}
        };
        while !snapshot.read(&mut cursor, ROWS, &mut take)? {}
        Ok(())
    })?;
    Ok(())
}

/// What has to be known, or what is not.
fn traffic(spec: &Experiment, known: &KnownTraffic) -> Result<Traffic, Failure> {
    let mut lacks = Vec::new();
    if !known.units_per_day.is_some_and(|n| n > 0.0 && n.is_finite()) {
        lacks.push("--units-per-day N".to_owned());
    }
    let mut baselines = Vec::with_capacity(spec.metrics.len());
    for metric in &spec.metrics {
        let is_share = matches!(&metric.quantity, Quantity::Mean(measure) if measure.aggregate == serin_core::experiment::Aggregate::Any);
        match known.baselines.get(&*metric.name) {
            Some(base) if is_share && !(0.0..=1.0).contains(&base.mean) => {
                return Err(format!("--base {}={}: a share from 0 to 1 is needed", metric.name, base.mean).into());
            }
            Some(base) if !is_share && base.sd.is_none() => lacks.push(format!("--base {}=MEAN:SD", metric.name)),
            Some(base) => baselines.push(*base),
            None if is_share => lacks.push(format!("--base {}=SHARE", metric.name)),
            None => lacks.push(format!("--base {}=MEAN:SD", metric.name)),
        }
    }
    if !lacks.is_empty() {
        let why = "not known, neither from the ledger (--config FILE) nor from the command line";
        return Err(format!("{why}: {}", lacks.join(", ")).into());
    }
    Ok(Traffic {
        units_per_day: known.units_per_day.unwrap_or_default(),
        decisions_per_unit: known.decisions_per_unit.unwrap_or(1.0).max(1.0),
        baselines,
        failures: known.failures.unwrap_or(0.0).clamp(0.0, 1.0),
    })
}

fn as_json(spec: &Experiment, traffic: &Traffic, effect: f64, plan: &Plan) -> serde_json::Value {
    let bases = spec.metrics.iter().zip(&traffic.baselines);
    let bases: serde_json::Map<String, serde_json::Value> =
        bases.map(|(metric, base)| (metric.name.to_string(), json!({ "mean": base.mean, "sd": base.sd }))).collect();
    json!({
        "experiment": &*spec.id, "effect": effect, "plan": plan,
        "traffic": {
            "units_per_day": traffic.units_per_day, "decisions_per_unit": traffic.decisions_per_unit,
            "failures": traffic.failures, "baselines": bases,
        },
    })
}

fn print_plan(spec: &Experiment, traffic: &Traffic, effect: f64, plan: &Plan) {
    println!(
        "{}: {:.0} new units a day in the layer, {:.1} decisions each, {:.2} % with a failure",
        spec.id,
        traffic.units_per_day,
        traffic.decisions_per_unit,
        traffic.failures * 100.0
    );
    for (metric, base) in spec.metrics.iter().zip(&traffic.baselines) {
        let sd = base.sd.map(|sd| format!(", standard deviation {sd:.4}")).unwrap_or_default();
        println!("  {:<24} {} without the experiment{sd}", metric.name, round(base.mean));
    }
    if let Some(needs) = &plan.needs {
        let (goal, planned) = (&spec.metrics[needs.metric].name, spec.metrics[needs.metric].planned_units);
        let said = |needed: &Needed| {
            format!("{:.0} units, {:.0} entered, {:.1} days", needed.units, needed.entered, needed.days)
        };
        println!("\nan effect of {} on '{goal}', at alpha {}", round(effect), round(needs.alpha));
        println!("  by one test at the end, power {POWER}: {}", said(&needs.fixed));
        println!("  by a sequence as wide as the effect:   {}", said(&needs.sequence));
        println!(
            "  the spec's planned_units = {planned}: one test of so many units finds an effect of {} or more",
            round(needs.detectable)
        );
    }
    println!("\nthis spec, simulated over {} days, in each world {} times or fewer", plan.days, plan.runs);
    for scenario in &plan.scenarios {
        print_scenario(spec, effect, scenario);
    }
    for warning in &plan.warnings {
        println!("\nwarning: {}", serin_core::inert_line(warning));
    }
}

fn print_scenario(spec: &Experiment, effect: f64, scenario: &Scenario) {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let [low, high] = scenario.bounds(scenario.right).map(percent);
    let should = match scenario.should() {
        Should::Ship if spec.ships => "to ship it",
        // A person does; what is simulated is whether the verdict says so.
        Should::Ship => "a verdict to ship it",
        Should::Stop => "to stop it",
        Should::Pause => "to pause, since the split is broken",
        Should::Neither => "neither to ship it nor to stop it",
        Should::NotShip => "not to ship it",
        Should::NotShipLater => "not to ship it once the silence is noticed",
    };
    println!("\n  {}", title(spec, effect, scenario.assumed));
    println!(
        "    right would be {should}: so it came in {} of {} simulated experiments (95 % bounds: {low} to {high})",
        percent(scenario.right),
        scenario.runs
    );
    let ends = [
        ("ships what is better", scenario.won),
        ("ships what is not", scenario.false_wins),
        ("stopped by a guardrail", scenario.stopped),
        ("paused for the split", scenario.unbalanced),
        ("over without a winner", scenario.over),
        ("still running", scenario.open),
    ];
    let ends = ends.into_iter().filter(|(_, share)| *share > 0.0);
    println!("    {}", ends.map(|(end, share)| format!("{end} {}", percent(share))).collect::<Vec<_>>().join(", "));
    if let Some(point) = &scenario.median {
        println!("    half of the runs by day {:.0}, with {:.0} units", point.day, point.units);
    }
    if !scenario.concludes.is_empty() {
        println!("    concludes: {}", in_days(&scenario.concludes));
    }
}

/// A world, in words.
fn title(spec: &Experiment, effect: f64, assumed: Assumed) -> String {
    let effect = round(effect);
    let metric = |at: usize| &spec.metrics[at].name;
    match assumed {
        Assumed::Nothing => "nothing is different".to_owned(),
        Assumed::Effect => format!("the goals are better by {effect}"),
        Assumed::Harm { guardrail, by } => {
            format!("the goals are better, and '{}' is worse by {}", spec.guardrails[guardrail].name, round(by))
        }
        Assumed::Conflict { metric: at, by } => {
            format!("the first goal is better by {effect}, and '{}' is worse by {}", metric(at), round(by))
        }
        Assumed::Drift => "nothing is different, and all outcomes halve in the course of the run".to_owned(),
        Assumed::DeadFeed { day, noticed } => {
            format!("the goals are better, and no outcome is posted after day {day}: noticed on day {noticed}")
        }
        Assumed::WrongName { metric: at } => {
            format!("the goals are better, and the outcome of '{}' is never posted under its name", metric(at))
        }
        Assumed::BrokenSplit => "the goals are better, and one in five of the treatment's units is lost".to_owned(),
        Assumed::HalfMissing => {
            "nothing is different, and half of the treatment's units have no outcome posted".to_owned()
        }
        Assumed::OneSegment => {
            format!("the goals are better by {effect} for half of the units, and equal for the others")
        }
    }
}

/// A sentence of a simulated run, whose clock begins in 1970: its times as days of the run.
fn in_days(sentence: &str) -> String {
    let word = |word: &str| {
        let time = word.trim_end_matches([',', ';', '.', ':']);
        let Ok(at) = time.parse::<jiff::Timestamp>() else { return word.to_owned() };
        format!("day {}{}", at.as_millisecond() / DAY_MS as i64, &word[time.len()..])
    };
    sentence.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Enough digits to tell numbers apart.
fn round(x: f64) -> String {
    let text = format!("{x:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}
