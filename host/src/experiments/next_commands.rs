//! What a person types to go on, as the states of experiments say it. The console has buttons in its place.

/// Starts a draft.
pub fn start(id: &str) -> String {
    format!("serin experiment start {id} --reason TEXT")
}

/// Decides on an edit that waits.
pub fn amend(id: &str) -> String {
    format!("serin experiment amend {id} --reason TEXT")
}

/// Approves a file. It ends a sentence.
pub const APPROVE: &str = "; give it with serin experiment approve";
