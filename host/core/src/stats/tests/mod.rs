//! The statistics against numbers that were computed another way, and against simulations with
//! known truths. Each simulation also shows that a wrong method fails its bound.

mod answers;
mod bandit;
mod bandit_trends;
mod draw;
mod failures;
mod fixed;
mod golden;
mod golden_counts;
pub(crate) mod golden_packages;
mod merging;
mod peeking;
mod regression;
mod separate_weights;
mod split;
