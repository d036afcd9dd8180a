//! `serin clock`: a client of the admin listener.

use clap::Subcommand;
use serde_json::json;

use super::{Format, Outcome, WhyArgs};

#[derive(Subcommand)]
pub(super) enum ClockCommand {
    /// Say that the host's clock is right, after a leap: expiry and experiments go on by it
    Confirm(WhyArgs),
}

pub(super) fn run(command: ClockCommand) -> Outcome {
    let ClockCommand::Confirm(why) = command;
    let body = json!({ "reason": why.reason, "by": why.by });
    let answer = why.admin.client()?.post("/v1/clock/confirm", &body)?;
    match why.admin.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
        Format::Text => println!("confirmed: it is {}", answer["confirmed"].as_str().unwrap_or_default()),
    }
    Ok(true)
}
