//! The composition root: assembles a host, keeps its deployment up to date, and shuts it down.

mod archived;
mod archiving;
mod background;
mod build;
mod check;
mod declared;
mod experiments;
mod exposed;
mod fallback;
mod final_reports;
mod held_slots;
mod host;
mod in_force;
mod models;
mod moved;
mod offline;
mod reach;
mod reload;
mod subjects;
mod windows;

pub use background::needed_rows;
pub use build::Built;
pub use check::{Finding, check};
pub use final_reports::keep_final_reports;
pub use host::{Host, HostError, Looks, Options};
pub use reload::{Reloader, ReloaderParts};
