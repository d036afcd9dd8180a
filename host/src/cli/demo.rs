//! `serin demo`.

use super::{DemoArgs, Outcome};

pub(super) fn run(_: &DemoArgs) -> Outcome {
    Err("not yet".into())
}
