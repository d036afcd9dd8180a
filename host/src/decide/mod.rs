//! The pipeline: gather, route, score, run, check, draw. A decision takes one immutable
//! [`Deployment`] at its start and uses it to the end.

mod attempt;
mod deployment;
mod fair_queue;
mod gather;
mod pipeline;
mod pool;
mod request;
mod route;
mod routing_table;
mod shadow;

pub use deployment::{Arm, BindError, BindTarget, Deployment, Point, RunningExperiment, ShadowArm, UnionView};
pub use pipeline::{Decided, decide};
pub use pool::{Decision, Pool, Refused, Then};
pub use request::{DecisionRequest, Force, MAX_OFFSET, RequestError};
pub use route::{batch_salt, route_again, routing, verify_arm};
pub use routing_table::{RoutedExperiment, RoutingTable, ShippedArm};
pub use shadow::{ShadowRun, Shadowed, Shadows};
