//! The pipeline: gather, route, score, run, check, draw. Everything that it needs hangs off
//! one immutable [`Deployment`], taken once a decision.

mod attempt;
mod deployment;
mod gather;
mod lines;
mod pipeline;
mod pool;
mod request;
mod route;

pub use attempt::CallScorer;
pub use deployment::{
    Arm, BindError, ContextField, Deployment, FallbackAction, Layer, Point, PointSchema, RunningExperiment, UnionView,
    bind_arm,
};
pub use pipeline::{Decided, decide};
pub use pool::{Decision, Pool, Refused, Then};
pub use request::{DecisionRequest, Force, MAX_OFFSET, RequestError};
pub use route::verify_arm;
