//! The configuration's file, once it is still. Half of a file can be valid TOML: a token without the line that ends it,
//! or all tables but the last. So an edit counts when nothing of the file has changed for a while.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use crate::files;
use crate::registry::Stamp;

/// How long nothing of the file changes before an edit of it counts.
const SETTLE: Duration = Duration::from_secs(1);

/// The text of a file as it was when it was last still.
pub(super) struct SettledText {
    text: String,
    edit: Option<Edit>,
}

/// An edit that does not count yet.
struct Edit {
    text: String,
    stamp: Option<Stamp>,
    /// When it was first seen, in milliseconds of uptime.
    since_ms: u64,
}

impl SettledText {
    /// A file that had this text at the start.
    pub fn new(text: String) -> Self {
        Self { text, edit: None }
    }

    /// Reads the file; the text that counts.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn read(&mut self, path: &Path, uptime_ms: u64) -> Result<String> {
        let stamp = Stamp::of(path);
        // An edit of a file that is gone again is none, or it would be due for ever.
        let text = files::read_text(path, files::MAX_TEXT_BYTES).inspect_err(|_| self.edit = None)?;
        if text == self.text {
            self.edit = None;
            return Ok(text);
        }
        let known = self.edit.as_ref().filter(|edit| edit.stamp == stamp && edit.text == text);
        let since_ms = known.map_or(uptime_ms, |edit| edit.since_ms);
        if Duration::from_millis(uptime_ms.saturating_sub(since_ms)) >= SETTLE {
            (self.text, self.edit) = (text, None);
        } else {
            self.edit = Some(Edit { text, stamp, since_ms });
        }
        Ok(self.text.clone())
    }

    /// How long it takes until an edit may count; none without one.
    pub fn due_in(&self, uptime_ms: u64) -> Option<Duration> {
        let edit = self.edit.as_ref()?;
        Some(SETTLE.saturating_sub(Duration::from_millis(uptime_ms.saturating_sub(edit.since_ms))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_counts_once_nothing_has_changed_for_a_second() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("serin.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("writes");
        let mut settled = SettledText::new("old".to_owned());
        write("old");
        assert_eq!(settled.read(&path, 0).expect("reads"), "old");
        assert_eq!(settled.due_in(0), None);
        write("half");
        assert_eq!(settled.read(&path, 5_000).expect("reads"), "old");
        assert_eq!(settled.due_in(5_400), Some(Duration::from_millis(600)));
        write("half and the rest");
        assert_eq!(settled.read(&path, 5_990).expect("reads"), "old", "it has changed");
        assert_eq!(settled.read(&path, 6_980).expect("reads"), "old");
        assert_eq!(settled.read(&path, 6_990).expect("reads"), "half and the rest");
        assert_eq!(settled.due_in(6_990), None);
        // Taken back before it counted.
        write("another");
        assert_eq!(settled.read(&path, 9_000).expect("reads"), "half and the rest");
        write("half and the rest");
        assert_eq!(settled.read(&path, 9_100).expect("reads"), "half and the rest");
        write("another");
        assert_eq!(settled.read(&path, 10_050).expect("reads"), "half and the rest", "seen anew");
        std::fs::remove_file(&path).expect("removes");
        assert!(settled.read(&path, 10_100).is_err());
        assert_eq!(settled.due_in(20_000), None, "nothing is waited for");
    }
}
