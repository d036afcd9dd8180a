//! Serin: a host for decision strategies compiled to WebAssembly.
// Forbidden but for one function of `sandbox::cache`, which says why.
#![deny(unsafe_code)]
// They panic where nothing can be written: `cli::output` has macros in their place.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod app;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod deployment;
pub mod digest;
pub mod experiments;
pub mod features;
pub mod files;
pub mod http;
pub mod ledger;
pub mod models;
mod mutant;
pub mod registry;
pub mod replay;
pub mod report;
pub mod sandbox;
pub mod signatures;
pub mod snapshot;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod traces;
