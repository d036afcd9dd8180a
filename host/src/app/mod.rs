//! The composition root: puts a host together, keeps its deployment up to date, and takes it
//! down again.

mod archiving;
mod background;
mod build;
mod check;
mod declared;
mod experiments;
mod final_reports;
mod held_slots;
mod host;
mod models;
mod moved;
mod reload;
mod subjects;

pub use build::Built;
pub use check::{Finding, check};
pub use host::{Host, HostError, Looks, Options};
pub use reload::{Reloader, ReloaderParts};
