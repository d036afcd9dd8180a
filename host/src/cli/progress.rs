//! Progress bars, and what else shows that something is under way.

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

/// Something that takes a while: a spinner with the time on a terminal, elsewhere a line at its
/// beginning and at its end. Both go to standard error.
pub(super) struct Waiting {
    bar: indicatif::ProgressBar,
    /// What to say at the end; nothing on a terminal, and where nobody asked.
    what: Option<String>,
}

/// Shows that something takes a while, until the result is dropped. `is_quiet` leaves out the lines.
pub(super) fn waiting(what: &str, is_quiet: bool) -> Waiting {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        let what = (!is_quiet).then(|| what.to_owned());
        what.iter().for_each(|what| eprintln!("{what} …"));
        return Waiting { bar: indicatif::ProgressBar::hidden(), what };
    }
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    Waiting { bar, what: None }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(what) = &self.what {
            eprintln!("{what}: {:.1} s", self.bar.elapsed().as_secs_f64());
        }
        self.bar.finish_and_clear();
    }
}
