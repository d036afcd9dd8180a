//! Progress bars.

/// A progress bar on a terminal, and nothing elsewhere.
pub(super) fn progress(total: Option<u64>, what: &'static str) -> indicatif::ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = match total {
        Some(total) => indicatif::ProgressBar::new(total),
        None => indicatif::ProgressBar::new_spinner(),
    };
    bar.set_message(what);
    bar
}
