//! The console's open sessions on disk, so that a page that stays open outlives a restart of the host. The file holds
//! hashes alone: neither a session's id nor its token can be told from them.

use std::io::{ErrorKind, Result, Write as _};
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::access::{KeptSession, Sessions};
use crate::files;

/// Bytes of a file of the most sessions there are, each with the longest name.
const MAX_BYTES: u64 = 1 << 20;

/// The file of sessions.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// One writes at a time, and what is written last is how it is.
    writing: Mutex<()>,
}

impl SessionFile {
    /// A file, and the sessions that it holds. One that cannot be read holds none: people sign in again.
    pub fn open(path: PathBuf, now_ms: u64) -> (Self, Sessions) {
        let kept = match files::read_text(&path, MAX_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.and_then(|text| Ok(serde_json::from_str::<Vec<KeptSession>>(&text)?)),
        };
        let kept = kept.unwrap_or_else(|error| {
            let file = files::shown(&path);
            tracing::warn!(file, %error, "the console's sessions cannot be read: everybody signs in again");
            Vec::new()
        });
        (Self { path, writing: Mutex::default() }, Sessions::of(kept, now_ms))
    }

    /// Puts what is open now in the file's place, which is otherwise as it was. This waits for the disk.
    pub fn keep(&self, sessions: &Sessions) {
        if let Err(error) = self.write(sessions) {
            crate::telemetry::log_limited!(warn, why = %error, "the console's sessions are not kept: they end with the host");
        }
    }

    fn write(&self, sessions: &Sessions) -> Result<()> {
        let _writing = self.writing.lock();
        let beside = self.path.with_extension("part");
        let mut file = files::open_private(&beside)?;
        file.set_len(0)?;
        // Not flushed to the disk: what a power cut takes is that people sign in again.
        file.write_all(&serde_json::to_vec(&sessions.kept())?)?;
        std::fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::{Access, Credential, Identity, Role, Roles, SESSION_MS, TokenHash};

    #[test]
    fn sessions_outlive_their_host_and_no_longer_than_they_would_have() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions.json");
        let open = |now_ms| SessionFile::open(path.clone(), now_ms);
        let identity = Arc::new(Identity::new("ann".into(), Roles::of(&[Role::Read]), None));
        let mut known = Access::default();
        known.add_token(TokenHash::of("t"), Credential { identity: Arc::clone(&identity), expires_ms: None });

        let (file, before) = open(0);
        let [stays, ended] = [0, 1].map(|_| before.open("t", &identity, 7).expect("entropy"));
        before.end(&ended);
        file.keep(&before);
        let text = std::fs::read_to_string(&path).expect("is there");
        assert!(!text.contains(&stays["serin_".len()..]), "{text}");
        let form_key = before.find(&stays, &known, 8).map(|session| session.form_key);
        let (_, after) = open(8);
        assert_eq!(after.find(&stays, &known, 8).map(|session| session.form_key), form_key);
        assert!(form_key.is_some() && after.find(&ended, &known, 8).is_none());
        assert!(open(8).1.find(&stays, &Access::default(), 8).is_none(), "its token is gone");
        assert!(open(7 + SESSION_MS).1.find(&stays, &known, 8).is_none(), "its time was over");
        std::fs::write(&path, "[{\"id\":").expect("writes");
        assert!(open(8).1.find(&stays, &known, 8).is_none(), "where the file has a mistake, people sign in again");
    }
}
