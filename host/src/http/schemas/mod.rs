//! Schemas of answers that are written without a type of `http`: the admin listener's.

mod answers;
mod record;
mod report;
mod results;

pub(super) use answers::{
    AffectedUnits, Attention, AuditEntries, Confirmed, Deployment, Experiment, Experiments, Models, Paused, Plugins,
    Views,
};
pub(super) use record::{DecisionRecord, DecisionRecords, Replay, UnreadableRecord};
pub(super) use report::Report;
