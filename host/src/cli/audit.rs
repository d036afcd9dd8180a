//! `serin audit`: who did what.

use clap::Args;
use serde_json::Value;

use super::experiment::encoded;
use super::{AdminArgs, Format, Outcome};
use crate::http::AUDIT_KINDS;

/// Entries of one request.
const PAGE: u32 = 1000;

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Only what was done at this time or later: RFC 3339, how long ago, like 1h, or milliseconds since 1970
    #[arg(long, value_name = "T", default_value = "24h")]
    since: String,
    /// Only what was done before this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only what this identity did
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Only this, like experiment.abort
    #[arg(long, value_name = "KIND")]
    what: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the entries, newest first, a page at a time.
pub(super) fn run(args: &AuditArgs) -> Outcome {
    let client = args.admin.client()?;
    let (mut before, mut is_empty): (Option<u64>, bool) = (None, true);
    loop {
        let mut query = format!("/v1/audit?limit={PAGE}&since={}", encoded(&args.since));
        for (key, value) in [("until", &args.until), ("who", &args.who), ("what", &args.what)] {
            if let Some(value) = value {
                query += &format!("&{key}={}", encoded(value));
            }
        }
        if let Some(before) = before {
            query += &format!("&before={before}");
        }
        let page = client.get(&query)?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            let is_first = std::mem::take(&mut is_empty);
            match args.admin.format {
                Format::Text if is_first => {
                    header();
                    show(entry);
                }
                Format::Json => println!("{entry}"),
                Format::Text => show(entry),
            }
        }
        before = page["next"].as_u64();
        if before.is_none() {
            break;
        }
    }
    match unknown(args.what.as_deref().filter(|_| is_empty)) {
        Some(why) => Err(why.into()),
        None => {
            if is_empty && args.admin.format == Format::Text {
                header();
            }
            Ok(true)
        }
    }
}

/// The table's head. An error has no table, so it comes with the first entry.
fn header() {
    println!("{:<25} {:<20} {:<16} {:<24} {:<24} ON", "AT", "WHO", "FROM", "WHAT", "RESULT");
}

/// That nothing was found because nothing is called so. A newer host may have more kinds than this program knows.
fn unknown(what: Option<&str>) -> Option<String> {
    let what = what.filter(|what| !AUDIT_KINDS.contains(what))?;
    Some(format!("--what {}: no entry is of this kind; valid: {}", serin_core::printable(what), AUDIT_KINDS.join(", ")))
}

fn show(entry: &Value) {
    let text = |key: &str| serin_core::printable(entry[key].as_str().unwrap_or("-"));
    let count = entry["count"].as_u64().filter(|count| *count != 1).map(|count| format!(" ({count} times)"));
    println!(
        "{:<25} {:<20} {:<16} {:<24} {:<24} {}{}",
        text("at"),
        text("who"),
        text("address"),
        text("what"),
        text("result"),
        text("target"),
        count.unwrap_or_default()
    );
}
