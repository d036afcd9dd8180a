//! What a deployment declares, validated and without behaviour: decision points, layers and feature views.
//! `config` produces these types from `serin.toml`; the modules above read them.

mod flag;
mod layer;
mod point;
mod schema;
mod view;

pub use flag::FlagValue;
pub use layer::{GlobalHoldout, Layer};
pub use point::{ContextField, FallbackAction, PointSpec};
pub use schema::PointSchema;
pub use view::ViewSpec;
