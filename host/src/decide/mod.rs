//! The pipeline: gather, route, score, run, check, draw. Everything that it needs hangs off
//! one immutable [`DeploymentSnapshot`], taken once a decision.

mod attempt;
mod brief_queue;
mod fair_queue;
mod gather;
mod open_windows;
mod pipeline;
mod pool;
mod request;
mod route;
mod routing_table;
mod shadow;
mod snapshot;

pub use attempt::Thread;
pub use open_windows::{OpenWindows, UnitBatch};
pub use pipeline::{Decided, Undecided, decide};
pub use pool::{OnDecided, Pool, QueuedDecision, Refused};
pub use request::{DecisionRequest, Force, MAX_OFFSET, RequestError};
pub use route::{batch_salt, route_again, routing, verify_arm, verify_batch};
pub use routing_table::{RoutedExperiment, RoutingTable, ShippedArm};
pub use shadow::{ShadowRun, Shadowed, Shadows};
pub use snapshot::{
    BindError, BindTarget, BoundArm, DeploymentSnapshot, Point, RewardWindows, RunningExperiment, ShadowArm, UnionView,
};
