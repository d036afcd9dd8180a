//! Results by segment. They are exploratory, because among many segments some differ by chance. All
//! p-values are adjusted together (Benjamini and Hochberg).

use super::metrics::{Found, Summed, find};
use super::observed::Observed;
use crate::Name;
use crate::experiment::Role;
use crate::stats::{NotEnough, benjamini_hochberg};

/// The most segments of one attribute; smaller ones are left out.
const MAX_SEGMENTS: usize = 12;

/// A goal in one arm, among the units of one segment.
#[derive(Debug, Clone)]
pub struct SegmentResult {
    /// The attribute.
    pub attribute: String,
    /// Its value; none for units whose value is unknown.
    pub value: Option<Box<str>>,
    /// Position of the goal.
    pub metric: usize,
    /// The arm.
    pub arm: Name,
    /// Mature units in control and in the arm.
    pub units: [u64; 2],
    /// The result, or why there is none.
    pub found: Result<Found, NotEnough>,
    /// p-value adjusted over all segments that are shown.
    pub adjusted_p: Option<f64>,
}

/// Every goal in every segment.
pub fn by_segment(observed: &Observed, now_ms: u64) -> Vec<SegmentResult> {
    let spec = &observed.spec;
    let control = spec.control_at();
    let mut results = Vec::new();
    for attribute in &spec.segments {
        let Some((place, names)) = observed.attributes.grouping(attribute) else { continue };
        let mut sizes = std::collections::BTreeMap::<u16, u64>::new();
        for unit in observed.units() {
            *sizes.entry(unit.known.group(place)).or_default() += 1;
        }
        let mut groups: Vec<(u16, u64)> = sizes.into_iter().collect();
        groups.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        for (group, _) in groups.into_iter().take(MAX_SEGMENTS) {
            for (position, metric) in spec.metrics.iter().enumerate().filter(|(_, m)| m.role == Role::Goal) {
                let summed = Summed::among(observed, position, now_ms, |unit| unit.known.group(place) == group);
                for arm in (0..spec.arms.len()).filter(|arm| *arm != control) {
                    results.push(SegmentResult {
                        attribute: attribute.to_string(),
                        value: names.get(usize::from(group)).cloned(),
                        metric: position,
                        arm: spec.arms[arm].name.clone(),
                        units: [control, arm].map(|arm| summed.arm(arm).units),
                        found: find(&summed, metric, control, arm, metric.alpha),
                        adjusted_p: None,
                    });
                }
            }
        }
    }
    let known: Vec<usize> = (0..results.len()).filter(|at| results[*at].found.is_ok()).collect();
    let p: Vec<f64> = known.iter().filter_map(|at| results[*at].found.as_ref().ok().map(|f| f.interval.p)).collect();
    for (at, adjusted) in known.into_iter().zip(benjamini_hochberg(&p)) {
        results[at].adjusted_p = Some(adjusted);
    }
    results
}
