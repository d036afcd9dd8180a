//! Lines for the strategy's author, kept in the decision's record.
//!
//! A strategy that logs imports the host's log, which makes every decision a little dearer:
//! reasons are the better place for what matters to a decision.

pub use crate::bindings::Level;

/// Keeps a line for the author alone.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Keeps a line that is worth knowing.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Keeps a line about what is not as it should be.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

#[cfg(target_arch = "wasm32")]
fn log(level: Level, message: &str) {
    crate::bindings::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn log(level: Level, message: &str) {
    crate::testing::keep_line(level, message);
}

/// Sends a panic's message to the log before the trap. `#[strategy(log_panics)]` calls it first
/// in every decision; it isn't the default because it imports the log.
#[cfg(target_arch = "wasm32")]
pub fn panics() {
    std::panic::set_hook(Box::new(|info| warn(&info.to_string())));
}
