//! Progress bars, and what else shows that something is under way.

use crate::clock::Stopwatch;

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
    /// Says what is waited for unless it is dropped before.
    later: Option<Later>,
}

/// Longer waits are always announced: a silent program looks hung.
const UNSAID: std::time::Duration = std::time::Duration::from_secs(2);

/// A line that is said after [`UNSAID`], and another at the end.
struct Later {
    /// Dropped at the end.
    ended: Option<crossbeam_channel::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn say_later(what: String) -> Later {
    let (ended, end) = crossbeam_channel::bounded::<()>(0);
    let mut watch = Stopwatch::new();
    let say = move || {
        if end.recv_timeout(UNSAID) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            eprintln!("{what} …");
            let _ = end.recv();
            eprintln!("{what}: {:.1} s", watch.lap_us() as f64 / 1e6);
        }
    };
    // Without the thread nothing is said.
    Later { ended: Some(ended), thread: std::thread::Builder::new().spawn(say).ok() }
}

impl Drop for Later {
    fn drop(&mut self) {
        drop(self.ended.take());
        // It says its last line before the command's own output goes on.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Shows that something takes a while, until the result is dropped. With `is_quiet` it says nothing
/// of what takes less than [`UNSAID`], unless on a terminal.
pub(super) fn waiting(what: &str, is_quiet: bool) -> Waiting {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        let bar = indicatif::ProgressBar::hidden();
        if is_quiet {
            return Waiting { bar, what: None, later: Some(say_later(what.to_owned())) };
        }
        eprintln!("{what} …");
        return Waiting { bar, what: Some(what.to_owned()), later: None };
    }
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    Waiting { bar, what: None, later: None }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.later.take());
        if let Some(what) = &self.what {
            eprintln!("{what}: {:.1} s", self.bar.elapsed().as_secs_f64());
        }
        self.bar.finish_and_clear();
    }
}
