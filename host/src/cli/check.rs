//! `serin check`.

use std::path::Path;

use serin_core::inert;

use super::progress::waiting;
use super::{Format, Outcome};
use crate::app::check;

pub(super) fn run(config: &Path, format: Format) -> Outcome {
    let findings = {
        let _waiting = waiting("checking, and compiling what no host has compiled here", true);
        check(config)
    };
    let failed = findings.iter().any(|finding| finding.error.is_some());
    if format == Format::Json {
        let rows: Vec<_> = findings
            .iter()
            .map(|f| {
                serde_json::json!({
                    "file": f.file, "what": f.what, "error": f.error, "warnings": f.warnings, "notes": f.notes,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "ok": !failed, "files": rows }))?);
        return Ok(!failed);
    }
    for finding in &findings {
        match &finding.error {
            None => println!("ok      {:<40} {}", finding.file, inert(&finding.what)),
            Some(error) => eprintln!("FAILED  {}: {}", finding.file, inert(error)),
        }
        finding.notes.iter().for_each(|note| println!("        {}", inert(note)));
        finding.warnings.iter().for_each(|warning| eprintln!("warning {}: {}", finding.file, inert(warning)));
    }
    Ok(!failed)
}
