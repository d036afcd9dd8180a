//! What an experiment's outcomes say: comparisons of two arms, sequences of intervals that may be
//! looked at all the time, tests of the split and of rare failures.
//!
//! **The unit of analysis is the unit of randomization.** A unit that was decided about nine
//! times is one observation, not nine: its decisions share its luck, and a test that counts them
//! one by one finds differences where there are none. Whoever calls sums up by unit first. A
//! metric that is a ratio of two such sums goes through [`ratio_difference`].
//!
//! Everything is computed from **mergeable sufficient statistics**, [`Moments`] and [`Joint`]
//! for numbers and plain counts for the rest. They are combined with `+`, so that one ledger,
//! many shards and a simulation share this code. Nothing holds the units themselves.
//!
//! Too little data is an answer of its own, [`NotEnough`], never a p-value of 1 or a variance
//! of 0. Where two arms are compared, a positive difference is a treatment above its control.
//!
//! | question | function |
//! |---|---|
//! | difference of means or proportions | [`difference`] |
//! | difference of ratios | [`ratio_difference`] |
//! | difference with a covariate's share taken out | [`cuped`] |
//! | difference with several covariates' share taken out | [`adjusted`] |
//! | interval for one look at a fixed time | [`welch`] |
//! | interval and bounds for any number of looks | [`two_sided`], [`lower`], [`upper`] |
//! | whether these may be trusted yet | [`may_speak`] |
//! | whether units are split as they should be | [`chi_squared`], [`log_bayes_factor`], [`Sequential`] |
//! | whether rare events became more frequent | [`rare`] |
//! | how the next units are split to find the best arm | [`thompson`] |
//! | an arm's mean, and a difference, where units were split like that | [`value`], [`value_difference`] |
//! | several answers at once | [`benjamini_hochberg`], [`bonferroni`] |

pub mod adjust;
pub mod bandit;
pub mod compare;
pub mod conditional;
pub mod moments;
pub mod rare;
pub mod regression;
pub mod sequence;
pub mod srm;

pub use adjust::{benjamini_hochberg, bonferroni};
pub use bandit::{Batch, Value, thompson, value, value_difference};
pub use compare::{Estimate, Interval, Kind, NotEnough, cuped, difference, ratio_difference, welch};
pub use moments::{Joint, Moments};
pub use rare::{Counts, log_e_value};
pub use regression::{Cross, adjusted};
pub use sequence::{lower, may_speak, two_sided, upper};
pub use srm::{Sequential, chi_squared, log_bayes_factor};

#[cfg(test)]
mod tests;
