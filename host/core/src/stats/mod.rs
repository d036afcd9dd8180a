//! Statistics of experiments: comparisons of two arms, confidence sequences that stay valid under
//! repeated looks, tests for sample ratio mismatch and for rare failures.
//!
//! **The unit of analysis is the unit of randomization.** A unit with nine decisions is one
//! observation, not nine: its decisions are correlated, and a test that counts them separately
//! finds differences where there are none. Callers aggregate by unit first. A metric that is a
//! ratio of two such sums uses [`ratio_difference`].
//!
//! Everything is computed from **mergeable sufficient statistics**, [`Moments`] and [`Joint`]
//! for numbers and plain counts for the rest. They are combined with `+`, so that one ledger,
//! many shards and a simulation share this code. Nothing holds the units themselves.
//!
//! Too little data is a result of its own, [`NotEnough`], never a p-value of 1 or a variance of 0.
//! A positive difference means that the treatment is above control.
//!
//! | question | function |
//! |---|---|
//! | difference of means or proportions | [`difference`] |
//! | difference of ratios | [`ratio_difference`] |
//! | difference adjusted for one covariate | [`cuped`] |
//! | difference adjusted for several covariates | [`adjusted`] |
//! | interval for one look at a fixed time | [`welch`] |
//! | interval and bounds for any number of looks | [`two_sided`], [`lower`], [`upper`] |
//! | whether there is enough data for them | [`may_speak`] |
//! | the difference where there are too few events, at one look | [`one_look`] |
//! | whether units are split by the weights | [`chi_squared`], [`log_bayes_factor`], [`Sequential`] |
//! | whether rare events became more frequent | [`rare`] |
//! | how the next units are split to find the best arm | [`thompson`] |
//! | a difference of means where units were split like that | [`batch_difference`] |
//! | a difference that was selected for being large | [`shrunken`] |
//! | several answers at once | [`benjamini_hochberg`], [`bonferroni`] |

pub mod adjust;
pub mod bandit;
pub mod compare;
pub mod conditional;
pub mod moments;
pub mod one_look;
pub mod rare;
pub mod regression;
pub mod sequence;
pub mod shrink;
pub mod srm;

pub use adjust::{benjamini_hochberg, bonferroni};
pub use bandit::{Batch, batch_difference, thompson};
pub use compare::{
    Centre, Estimate, Interval, Kind, NotEnough, cuped, difference, ratio_difference, welch, welch_multiplier,
};
pub use moments::{Joint, Moments};
pub use one_look::{clopper_pearson, one_look};
pub use rare::{BoundedSum, Counts, log_e_value};
pub use regression::{Cross, adjusted};
pub use sequence::{EVENTS, UNITS, lower, may_speak, multiplier, one_sided_multiplier, two_sided, upper};
pub use shrink::shrunken;
pub use srm::{Sequential, chi_squared, log_bayes_factor};

#[cfg(test)]
pub(crate) mod tests;
