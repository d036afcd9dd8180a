//! Metrics.

use super::attribute::Attribute;
use super::raw::{RawMetric, RawPart};
use crate::manifest::duration_ms;
use crate::{NAME_RULE, Name, is_name};

/// The role of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The experiment should improve it; it can win.
    Goal,
    /// The experiment must not make it worse.
    Guardrail,
    /// Reported only.
    Secondary,
}

impl Role {
    /// The name in files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goal => "goal",
            Self::Guardrail => "guardrail",
            Self::Secondary => "secondary",
        }
    }
}

/// Which rows of the ledger a metric is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Outcomes that applications post.
    Outcomes,
    /// The unit's decisions in the experiment; `outcome` names an action, or none for all of them.
    Decisions,
    /// Exposures of the unit's decisions.
    Exposures,
}

/// How a unit's rows become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// 1 where there is a row with a value other than 0, else 0.
    Any,
    /// The sum of the values.
    Sum,
    /// The number of rows.
    Count,
}

/// One number per unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Measure {
    /// The rows that it is computed from.
    pub source: Source,
    /// The outcome's or the action's name; none for all.
    pub outcome: Option<Name>,
    /// How the rows become a number.
    pub aggregate: Aggregate,
}

/// The quantity that is compared between arms.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// The mean over units of one number.
    Mean(Measure),
    /// The sum of one number over units, divided by the sum of another; compared by the delta
    /// method.
    Ratio(Measure, Measure),
}

impl Quantity {
    /// The names of the outcomes that it is computed from.
    fn outcomes(&self) -> impl Iterator<Item = &Name> {
        let measures = match self {
            Self::Mean(measure) => [Some(measure), None],
            Self::Ratio(over, under) => [Some(over), Some(under)],
        };
        let of_outcomes = measures.into_iter().flatten().filter(|measure| measure.source == Source::Outcomes);
        of_outcomes.filter_map(|measure| measure.outcome.as_ref())
    }
}

/// How a mature unit without a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// As zero.
    Zero,
    /// Not at all.
    Drop,
}

/// How an interval is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// An asymptotic confidence sequence (Waudby-Smith et al., arXiv 2103.06476), valid at any
    /// number of looks.
    AsymptoticCs,
    /// Welch's interval: valid for one look at the first `planned_units` that entered, once they
    /// are mature.
    Fixed,
}

impl Method {
    /// The name in files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsymptoticCs => "asymptotic_cs",
            Self::Fixed => "fixed",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub role: Role,
    /// The quantity that is compared.
    pub quantity: Quantity,
    /// How long after a unit's entry its rows count, in milliseconds.
    pub window_ms: u64,
    /// How late an outcome may be posted, in milliseconds. A unit is mature at entry + window +
    /// lag.
    pub lag_ms: u64,
    /// How a mature unit without a row counts.
    pub missing: Missing,
    /// Lower limit of a unit's number, or of a ratio's numerator; none for `any`.
    pub floor: Option<f64>,
    /// Upper limit of a unit's number, or of a ratio's numerator; none for `any`.
    pub cap: Option<f64>,
    /// How much worse an arm may be at this metric and still ship for another goal, in the metric's
    /// unit.
    pub tolerate: Option<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
    /// How the interval is computed.
    pub method: Method,
    /// Error rate of the interval, before it is shared between goals and arms.
    pub alpha: f64,
    /// Units of both arms at which the confidence sequence is tightest; the units of a fixed
    /// method.
    pub planned_units: u64,
    /// Standard deviation of the differences that were expected before the experiment, in the metric's
    /// unit; above 0. With it the report shows a shrunken estimate of what shipped.
    pub prior_sd: Option<f64>,
    /// None of its outcomes may ever have been posted: its name is not taken for a misspelt one.
    pub expects_none: bool,
    /// Whether only exposed units count; otherwise all assigned ones do.
    pub is_exposed: bool,
    /// Covariates: attributes at entry that explain part of a unit's number.
    pub cuped: Vec<Attribute>,
}

/// The most covariates of a metric.
const MAX_COVARIATES: usize = 8;
/// The default of `planned_units`.
pub const PLANNED_UNITS: u64 = 10_000;

pub(super) fn one_of<T: Copy>(key: String, value: Option<&str>, valid: &[(&str, T)]) -> Result<T, String> {
    // The first one is the default.
    let Some(text) = value else { return Ok(valid[0].1) };
    valid.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = valid.iter().map(|(name, _)| *name).collect();
        format!("{key} = \"{text}\"; valid: {}", names.join(", "))
    })
}

const SOURCES: [(&str, Source); 3] =
    [("outcomes", Source::Outcomes), ("decisions", Source::Decisions), ("exposures", Source::Exposures)];
const AGGREGATES: [(&str, Aggregate); 3] =
    [("any", Aggregate::Any), ("sum", Aggregate::Sum), ("count", Aggregate::Count)];

fn measure(at: &str, source: Option<&str>, outcome: Option<&str>, aggregate: Option<&str>) -> Result<Measure, String> {
    let source = one_of(format!("{at}source"), source, &SOURCES)?;
    let aggregate = one_of(format!("{at}aggregate"), aggregate, &AGGREGATES)?;
    if source == Source::Outcomes && outcome.is_none() {
        return Err(format!("{at}outcome: needed where source is outcomes: the name that applications post"));
    }
    if source == Source::Exposures && outcome.is_some() {
        return Err(format!("{at}outcome: exposures have no names; remove it"));
    }
    if aggregate == Aggregate::Sum && source != Source::Outcomes {
        return Err(format!("{at}aggregate = \"sum\": only outcomes have values; valid here: any, count"));
    }
    Ok(Measure { source, outcome: outcome.map(Into::into), aggregate })
}

impl Metric {
    pub(super) fn of(raw: &RawMetric) -> Result<Self, String> {
        if !is_name(&raw.name) {
            return Err(format!("metrics: name = \"{}\" is not a name; valid: {NAME_RULE}", raw.name));
        }
        let at = |key: &str| format!("metric '{}': {key}", raw.name);
        let roles = [("goal", Role::Goal), ("guardrail", Role::Guardrail), ("secondary", Role::Secondary)];
        let role = one_of(at("role"), Some(&raw.role), &roles)?;
        let missing =
            one_of(at("missing"), raw.missing.as_deref(), &[("zero", Missing::Zero), ("drop", Missing::Drop)])?;
        let more_is_better =
            one_of(at("direction"), raw.direction.as_deref(), &[("increase", true), ("decrease", false)])?;
        let methods = [("asymptotic_cs", Method::AsymptoticCs), ("fixed", Method::Fixed)];
        let method = one_of(at("method"), raw.method.as_deref(), &methods)?;
        let is_exposed =
            one_of(at("population"), raw.population.as_deref(), &[("assigned", false), ("exposed", true)])?;
        let duration = |key: &str, value: &Option<String>| match value {
            Some(text) => duration_ms(text).map(Some).map_err(|e| format!("{}: {e}", at(key))),
            None => Ok(None),
        };
        let alpha = raw.alpha.unwrap_or(0.05);
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(at(&format!("alpha = {alpha}; valid: above 0 and below 0.5")));
        }
        Self::check_plan(raw).map_err(|why| at(&why))?;
        let quantity = Self::quantity(raw)?;
        let [floor, cap] = limits(raw, &quantity).map_err(|why| at(&why))?;
        if let Some(tolerate) = raw.tolerate.filter(|x| !(x.is_finite() && *x >= 0.0)) {
            return Err(at(&format!("tolerate = {tolerate}; valid: a finite number from 0, in the metric's unit")));
        }
        if raw.expects_none && quantity.outcomes().next().is_none() {
            return Err(at("expects_none is for outcomes"));
        }
        let cuped = Self::covariates(raw, &quantity).map_err(|why| at(&why))?;
        let window_ms = match (duration("window", &raw.window)?, &quantity) {
            (Some(0), _) => return Err(at("window = 0; valid: a duration like 14d")),
            (Some(window), _) => window,
            (None, _) => return Err(at("window: needed: from a unit's entry, how long its rows count, like 14d")),
        };
        Ok(Self {
            name: raw.name.as_str().into(),
            role,
            quantity,
            window_ms,
            lag_ms: duration("lag", &raw.lag)?.unwrap_or(0),
            missing,
            floor,
            cap,
            tolerate: raw.tolerate,
            more_is_better,
            method,
            alpha,
            planned_units: raw.planned_units.unwrap_or(PLANNED_UNITS),
            prior_sd: raw.prior_sd,
            expects_none: raw.expects_none,
            is_exposed,
            cuped,
        })
    }

    /// The limits of a unit's number, where both are known: 0 and 1 for `any`.
    pub fn limits(&self) -> Option<[f64; 2]> {
        match &self.quantity {
            Quantity::Ratio(..) => None,
            Quantity::Mean(measure) if measure.aggregate == Aggregate::Any => Some([0.0, 1.0]),
            Quantity::Mean(measure) => {
                let least = if measure.aggregate == Aggregate::Count { Some(0.0) } else { self.floor };
                Some([self.floor.or(least)?, self.cap?])
            }
        }
    }

    /// Whether one unit's number could outweigh all others: an amount without an upper limit.
    pub fn is_limited(&self) -> bool {
        let (Quantity::Mean(measure) | Quantity::Ratio(measure, _)) = &self.quantity;
        measure.aggregate != Aggregate::Sum || self.cap.is_some()
    }

    /// Checks what has to be known before the experiment.
    fn check_plan(raw: &RawMetric) -> Result<(), String> {
        if raw.planned_units == Some(0) {
            return Err("planned_units = 0; valid: a number from 1".to_owned());
        }
        match raw.prior_sd.filter(|sd| !(sd.is_finite() && *sd > 0.0)) {
            Some(sd) => Err(format!("prior_sd = {sd}; valid: a finite number above 0, in the metric's unit")),
            None => Ok(()),
        }
    }

    fn covariates(raw: &RawMetric, quantity: &Quantity) -> Result<Vec<Attribute>, String> {
        let named = raw.cuped.iter().flatten().map(|text| Attribute::parse(text));
        let cuped = named.collect::<Result<Vec<_>, _>>().map_err(|e| format!("cuped: {e}"))?;
        if cuped.len() > MAX_COVARIATES {
            return Err(format!("cuped: {} covariates; at most {MAX_COVARIATES}", cuped.len()));
        }
        if !cuped.is_empty() && matches!(quantity, Quantity::Ratio(..)) {
            return Err("cuped is for one number a unit: any, sum or count".to_owned());
        }
        Ok(cuped)
    }

    fn quantity(raw: &RawMetric) -> Result<Quantity, String> {
        let at = format!("metric '{}': ", raw.name);
        let own = |aggregate| measure(&at, raw.source.as_deref(), raw.outcome.as_deref(), aggregate);
        let part = |side: &str, part: &Option<RawPart>| {
            let at = format!("{at}{side}.");
            let part = part.as_ref().ok_or_else(|| format!("{at}*: needed where aggregate is ratio"))?;
            measure(&at, part.source.as_deref(), part.outcome.as_deref(), part.aggregate.as_deref())
        };
        match raw.aggregate.as_deref() {
            Some("ratio") => {
                Ok(Quantity::Ratio(part("numerator", &raw.numerator)?, part("denominator", &raw.denominator)?))
            }
            _ if raw.numerator.is_some() || raw.denominator.is_some() => {
                Err(format!("{at}numerator and denominator are for aggregate = \"ratio\""))
            }
            // The mean of values: their sum by their number.
            Some("mean") => Ok(Quantity::Ratio(own(Some("sum"))?, own(Some("count"))?)),
            Some(other) if !AGGREGATES.iter().any(|(name, _)| *name == other) => {
                Err(format!("{at}aggregate = \"{other}\"; valid: any, sum, count, mean, ratio"))
            }
            other => own(other).map(Quantity::Mean),
        }
    }

    /// The outcomes that it is computed from.
    pub fn outcomes(&self) -> impl Iterator<Item = &Name> {
        self.quantity.outcomes()
    }

    /// Whether it is computed from the outcomes of a name.
    pub fn measures(&self, outcome: &str) -> bool {
        self.outcomes().any(|name| **name == *outcome)
    }

    /// The outcomes that it is computed from, and of which some have to be posted.
    pub fn needed_outcomes(&self) -> impl Iterator<Item = &Name> {
        self.outcomes().filter(|_| !self.expects_none)
    }

    /// When a unit that entered at `entry_ms` is mature, in milliseconds. An outcome that is posted
    /// then or later is too late and does not count.
    pub fn mature_ms(&self, entry_ms: u64) -> u64 {
        entry_ms.saturating_add(self.window_ms).saturating_add(self.lag_ms)
    }
}

/// The limits of a unit's number. What is declared with `max` is not below 0 without a `min`.
fn limits(raw: &RawMetric, quantity: &Quantity) -> Result<[Option<f64>; 2], String> {
    for (key, value) in [("cap", raw.cap), ("min", raw.min), ("max", raw.max)] {
        if let Some(value) = value.filter(|value| !value.is_finite()) {
            return Err(format!("{key} = {value}; valid: a finite number"));
        }
    }
    let given = [("cap", raw.cap), ("min", raw.min), ("max", raw.max)].into_iter().find(|(_, value)| value.is_some());
    let Some((key, _)) = given else { return Ok([None, None]) };
    if matches!(quantity, Quantity::Mean(measure) if measure.aggregate == Aggregate::Any) {
        return Err(format!(
            "{key}: a unit's number is 0 or 1 with aggregate = \"any\"; remove it, or take sum or count"
        ));
    }
    if raw.cap.is_some() && raw.max.is_some() {
        return Err("cap and max: give one of them".to_owned());
    }
    let floor = raw.min.or(raw.max.map(|_| 0.0));
    let cap = raw.cap.or(raw.max);
    match (floor, cap) {
        (Some(floor), Some(cap)) if floor >= cap => Err(format!("min = {floor} and max = {cap}; valid: min below max")),
        _ => Ok([floor, cap]),
    }
}
