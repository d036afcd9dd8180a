//! The raw boundary, as it stands in the project's WIT. Strategies use the typed layer above it;
//! this one is public for the generated code, and for tests that break its rules on purpose.
#![allow(missing_docs, unused_qualifications, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "strategy",
    pub_export_macro: true,
    export_macro_name: "export_strategy",
    default_bindings_module: "::serin_guest::bindings",
    additional_derives: [PartialEq],
});

pub use serin::decision::log::{Level, log};
pub use serin::decision::models::{ScoreError, score};
pub use serin::decision::types::{Attribute, Candidate, Reason, Value};
