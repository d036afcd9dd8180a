//! What a start would say of the files of `[server.tls]`.

use super::{Finding, finding};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::tls::Tls;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    let Some(settings) = &config.fixed.tls else { return };
    let now_ms = SystemClock.now_ms();
    findings.push(match Tls::start(settings.clone(), now_ms) {
        Ok(tls) => {
            let warnings = tls.warning(now_ms).into_iter().collect();
            Finding { warnings, ..finding(&settings.cert, "TLS certificate", None) }
        }
        // Only the file is printed with it.
        Err(error) => finding(&error.file, "TLS file", Some(format!("server.tls.{}: {}", error.key, error.why))),
    });
}
