//! What tests share: artifacts, deployments in folders of their own, hosts as real processes,
//! and a small HTTP client.

#![allow(dead_code, reason = "each test module uses its own part")]

mod artifacts;
mod deployment;
mod host;
mod http;
mod raw;
pub mod seeds;
mod specs;
pub mod tables;
pub mod wat;

pub use artifacts::{artifact, misbehave, outreach_rules, outreach_score, with_nonce};
pub use deployment::{Deployment, collections, misbehaving};
pub use host::{Cli, Host, outcome, run, run_with, serin};
pub use http::{Answer, Client};
pub use raw::Raw;
pub(crate) use specs::two_arms;

use std::time::{Duration, Instant};

/// Polls until `condition` yields something, at most `bound`; panics with `what` after it.
pub fn eventually<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The repository's root.
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the repository").to_path_buf()
}
