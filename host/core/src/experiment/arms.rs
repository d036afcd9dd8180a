//! The arms of an experiment, and how units are split between them.

use indexmap::IndexMap;

use super::metrics::{Metric, Quantity};
use super::raw::{RawAllocation, RawArm};
use crate::manifest::duration_ms;
use crate::value::Value;
use crate::{NAME_RULE, Name, is_name};

/// An arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name.
    pub name: Name,
    /// The strategy's exact version.
    pub strategy: Pin,
    /// Its share of the units that enter; with an allocation, its share in the first batch.
    pub weight: f64,
    /// Overrides of the manifest's defaults.
    pub parameters: IndexMap<String, Value>,
}

/// An exact version of a plugin, written `name@1.2.3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pin {
    /// The plugin's name.
    pub name: Name,
    /// Its version.
    pub version: semver::Version,
}

impl Pin {
    /// Parses `name@1.2.3`.
    ///
    /// # Errors
    /// What is wrong, and what is valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let valid = "valid: NAME@MAJOR.MINOR.PATCH, an exact version, like outreach-rules@1.0.0";
        let (name, version) = text.split_once('@').ok_or_else(|| format!("'{text}' has no version; {valid}"))?;
        if !is_name(name) {
            return Err(format!("'{name}' is not a name; {valid}"));
        }
        let version = semver::Version::parse(version).map_err(|e| format!("'{text}': {e}; {valid}"))?;
        Ok(Self { name: name.into(), version })
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// An arm that runs beside the serving one, without effect.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The arm; it has no weight.
    pub arm: Arm,
    /// The share of decisions that it runs on, from 0 to 1.
    pub sample: f64,
}

/// Adaptive shares: computed from mature rewards by Thompson sampling. Arms are drawn anew for each
/// unit and batch. Control's share is constant, as the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Position of the reward metric.
    pub metric: usize,
    /// How long a batch lasts, in milliseconds.
    pub update_ms: u64,
    /// The smallest share of any arm, of all units.
    pub floor: f64,
    /// The control's share.
    pub control_share: f64,
}

/// How far the weights' sum may be from 1.
const WEIGHT_TOLERANCE: f64 = 1e-9;
/// The shortest batch. Shorter ones would be mostly overhead.
const MIN_UPDATE_MS: u64 = 1000;

/// The parsed `[[arms]]`.
pub(super) struct Arms {
    pub arms: Vec<Arm>,
    pub shadows: Vec<Shadow>,
}

/// Validates the arms. With an allocation (`by_reward`) they have no weights yet.
pub(super) fn arms(raw: Vec<RawArm>, by_reward: bool) -> Result<Arms, String> {
    let mut read = Arms { arms: Vec::new(), shadows: Vec::new() };
    for (i, arm) in raw.into_iter().enumerate() {
        if !is_name(&arm.name) {
            return Err(format!("arms[{i}].name = \"{}\" is not a name; valid: {NAME_RULE}", arm.name));
        }
        let mut known = read.arms.iter().chain(read.shadows.iter().map(|shadow| &shadow.arm));
        if known.any(|known| *known.name == *arm.name) {
            return Err(format!("arms[{i}].name = \"{}\" is taken by another arm", arm.name));
        }
        let strategy = Pin::parse(&arm.strategy).map_err(|e| format!("arms[{i}].strategy: {e}"))?;
        let (name, parameters) = (Name::from(arm.name.as_str()), arm.parameters);
        match arm.mode.as_deref() {
            None => {}
            Some("shadow") => {
                if arm.weight.is_some() {
                    return Err(format!("arms[{i}]: a shadow arm has no weight; remove it"));
                }
                let sample = arm.sample.unwrap_or(1.0);
                if !(0.0..=1.0).contains(&sample) {
                    return Err(format!("arms[{i}].sample = {sample}; valid: a share from 0 to 1"));
                }
                read.shadows.push(Shadow { arm: Arm { name, strategy, weight: 0.0, parameters }, sample });
                continue;
            }
            Some(mode) => return Err(format!("arms[{i}].mode = \"{mode}\"; valid: shadow, or leave it out")),
        }
        if arm.sample.is_some() {
            return Err(format!("arms[{i}].sample is for shadow arms"));
        }
        let weight = match (arm.weight, by_reward) {
            (Some(_), true) => {
                return Err(format!("arms[{i}] '{name}': allocation takes the place of weights; remove it"));
            }
            (None, true) => 0.0,
            (Some(weight), false) if (0.0..=1.0).contains(&weight) => weight,
            (_, false) => return Err(format!("arms[{i}] '{name}': needs a weight from 0 to 1, like weight = 0.5")),
        };
        read.arms.push(Arm { name, strategy, weight, parameters });
    }
    let total: f64 = read.arms.iter().map(|arm| arm.weight).sum();
    if read.arms.is_empty() {
        return Err("no arms; add at least one [[arms]] with name, strategy and weight".to_owned());
    }
    if !by_reward && (total - 1.0).abs() > WEIGHT_TOLERANCE {
        return Err(format!("the arms' weights sum to {total}; valid: 1"));
    }
    Ok(read)
}

/// The property of a metric for which there is no comparison within batches. The delta method and
/// regressions are for large arms; batches may have a few units of an arm.
fn uncovered(metric: &Metric) -> Option<&'static str> {
    match metric.quantity {
        Quantity::Ratio(..) => Some("is a ratio or a mean, which is one of two sums"),
        Quantity::Mean(_) if !metric.cuped.is_empty() => Some("is adjusted for covariates (cuped)"),
        Quantity::Mean(_) => None,
    }
}

impl Allocation {
    /// Validates an allocation, and sets the arms' weights for the first batch: control's share,
    /// and equal shares of the rest.
    pub(super) fn of(raw: &RawAllocation, metrics: &[Metric], arms: &mut [Arm], control: &str) -> Result<Self, String> {
        if raw.policy != "thompson" {
            return Err(format!("allocation.policy = \"{}\"; valid: thompson", raw.policy));
        }
        let metric = metrics.iter().position(|metric| *metric.name == *raw.metric);
        let Some(metric) = metric.filter(|at| matches!(metrics[*at].quantity, Quantity::Mean(_))) else {
            let fits = metrics.iter().filter(|metric| matches!(metric.quantity, Quantity::Mean(_)));
            let fits = fits.map(|metric| &*metric.name).collect::<Vec<_>>().join(", ");
            return Err(format!("allocation.metric = \"{}\"; valid: a metric that is no ratio: {fits}", raw.metric));
        };
        if let Some((name, what)) = metrics.iter().find_map(|metric| Some((&metric.name, uncovered(metric)?))) {
            return Err(format!(
                "metric '{name}' {what}. With allocation arms are compared within each batch, so that a trend is no \
                 difference, and there is no such method for it here; valid: any, sum or count without cuped, or \
                 weights in place of allocation"
            ));
        }
        let update_ms = duration_ms(&raw.update_every).map_err(|e| format!("allocation.update_every: {e}"))?;
        if update_ms < MIN_UPDATE_MS {
            return Err(format!("allocation.update_every = \"{}\"; valid: from 1s", raw.update_every));
        }
        if arms.len() < 3 {
            return Err("allocation shares out what control leaves between the other arms: give two or more".to_owned());
        }
        let others = (arms.len() - 1) as f64;
        let (control_share, floor) = (raw.control_share.unwrap_or(0.2), raw.floor.unwrap_or(0.05));
        if !(control_share > 0.0 && control_share < 1.0) {
            return Err(format!("allocation.control_share = {control_share}; valid: above 0 and below 1"));
        }
        if !(floor > 0.0 && floor * others <= 1.0 - control_share) {
            return Err(format!(
                "allocation.floor = {floor}; valid: above 0, and up to {:.4}, since control leaves {:.4}",
                (1.0 - control_share) / others,
                1.0 - control_share
            ));
        }
        for arm in arms {
            arm.weight = if *arm.name == *control { control_share } else { (1.0 - control_share) / others };
        }
        Ok(Self { metric, update_ms, floor, control_share })
    }
}
