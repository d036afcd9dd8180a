//! Write a Serin decision strategy in Rust.
//!
//! [`plugin!`] reads the crate's `plugin.toml` and generates its types: what the
//! manifest names become fields and variants, so that a strategy never sees a position.
//! [`macro@strategy`] exports the function that decides.
//!
//! ```ignore
//! serin_guest::plugin!();
//!
//! #[serin_guest::strategy]
//! fn decide(input: &Input) -> Result<Decision, Refusal> {
//!     if input.features.days_past_due < 15 {
//!         let gentle = Action::SmsReminder { template: "gentle".into() };
//!         return gentle.because(Reason::EarlyStage, 0.7).into();
//!     }
//!     if input.features.balance_due.is_none() {
//!         return Err(Reason::NoBalance.refuse("the balance is not known"));
//!     }
//!     Decision::of([
//!         (0.9, Action::Call.because(Reason::LateStage, 1.0)),
//!         (0.1, Action::NoContact.because(Reason::Exploration, 1.0)),
//!     ])
//!     .into()
//! }
//! ```
//!
//! # What `plugin!` generates
//! - `Input`: `decision_point`, `time_ms`, `utc_offset_minutes`, and the three below.
//!   `Input::example(|input| …)` makes one for a test.
//! - `Features`, `Scores` and `Parameters`: a field for each feature, declared model and
//!   parameter. A feature that may be missing (`on_missing = "pass"`, or none given) is an
//!   `Option`. Their `Default` holds the manifest's defaults, and zeros elsewhere.
//! - `Action`: a variant for each action; its parameters are the variant's fields.
//! - `Reason`: a variant for each reason code.
//! - `Candidate`, `Decision` and `Refusal`: this crate's generic types over those two.
//! - `models`: a function for each callable model, which returns its [`Model`]. A
//!   strategy that calls none, and does not [`log`], imports nothing and starts faster.
//!
//! The feature `heap`, on unless you turn it off, brings the allocator; a strategy that brings
//! its own turns it off.
//!
//! On any target but Wasm nothing is exported or imported, so that unit tests run
//! natively; [`testing`] stands in for the host.

pub mod bindings;
pub mod boundary;
mod decision;
#[cfg(all(target_arch = "wasm32", feature = "heap"))]
mod heap;
pub mod log;
mod models;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::{ScoreError, Value};
pub use decision::{Answer, Candidate, Decision, Proposal, Refusal};
pub use models::Model;
pub use serin_guest_macros::{plugin, strategy};
