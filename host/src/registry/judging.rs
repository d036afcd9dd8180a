//! Judging the artifacts that are loaded again, when their signatures or the trusted keys have changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::experiment::Pin;

use super::admission::{Admission, Grounds, Scan, judge};
use super::folder::{ArtifactState, Folder, Inner};
use crate::signatures::{self, Judged, SignatureError};

impl Folder {
    /// Takes over by what artifacts are judged. What was refused may be admitted now.
    pub(super) fn admit_by(&self, scan: &Scan<'_>) {
        let inner = &mut *self.inner();
        let is_same = inner.admission.trust.fingerprint() == scan.trust.fingerprint();
        if !is_same || inner.admission.in_force != scan.in_force {
            inner.broken.clear();
        }
        if inner.admission.trust.troubles() != scan.trust.troubles() {
            scan.trust.troubles().iter().for_each(|trouble| tracing::error!("{trouble}"));
        }
        inner.admission = Admission { trust: Arc::clone(scan.trust), in_force: scan.in_force.to_vec() };
    }

    /// Judges what is loaded again, where its grounds have changed. What may not go on is taken away.
    pub(super) fn judge_again(&self, now_ms: u64) {
        let (loaded, admission) = {
            let inner = &mut *self.inner();
            inner.judged.retain(|digest, _| inner.statuses.contains_key(digest));
            (inner.loaded_files(), inner.admission.clone())
        };
        let with_grounds = |(digest, pin, files)| {
            let path = signed_of(files);
            let grounds = admission.of(path.as_deref(), Some(&pin));
            (digest, pin, path, grounds)
        };
        let mut due: Vec<(String, Pin, Option<PathBuf>, Grounds)> = loaded.into_iter().map(with_grounds).collect();
        {
            let inner = self.inner();
            due.retain(|(digest, _, _, grounds)| inner.judged.get(digest) != Some(grounds));
        }
        let trust = admission.trust;
        for (digest, pin, path, grounds) in due {
            let Some(bytes) = self.archive.get(&digest) else { continue };
            let of = (Some(&pin), &*digest, &bytes[..]);
            let judged = judge(&trust, Some(&self.archive), of, path.as_deref(), grounds.is_in_force);
            if let Ok(Judged { text: Some(text), .. }) = &judged
                && let Err(error) = self.archive.put_signature(&digest, text)
            {
                tracing::warn!(%error, digest, "a signature is not archived");
            }
            let inner = &mut *self.inner();
            inner.judged.insert(digest.clone(), grounds);
            match judged {
                Ok(judged) => inner.judge(&digest, judged),
                Err(error) => inner.take_away(&digest, &pin, &error, now_ms),
            }
        }
    }
}

/// Of a version's files, which are copies, one that has a signature.
fn signed_of(mut files: Vec<PathBuf>) -> Option<PathBuf> {
    let is_signed = |path: &PathBuf| signatures::path_of(path).exists();
    let at = if files.len() > 1 { files.iter().position(is_signed).unwrap_or(0) } else { 0 };
    (at < files.len()).then(|| files.swap_remove(at))
}

impl Inner {
    /// The loaded versions, each with the files that it is in.
    fn loaded_files(&self) -> Vec<(String, Pin, Vec<PathBuf>)> {
        let mut files: HashMap<&str, Vec<PathBuf>> = HashMap::with_capacity(self.seen.len());
        for (path, seen) in &self.seen {
            files.entry(&seen.digest).or_default().push(path.clone());
        }
        let active = self.statuses.values().filter(|status| status.state == ArtifactState::Active);
        let loaded = active.filter_map(|status| {
            let pin = status.pin.clone()?;
            Some((status.digest.clone(), pin, files.remove(&*status.digest).unwrap_or_default()))
        });
        loaded.collect()
    }

    /// Notes what was found of a loaded version's signature, and tells what is wrong with it.
    pub(super) fn judge(&mut self, digest: &str, judged: Judged) {
        let Some(status) = self.statuses.get_mut(digest) else { return };
        if let Some(why) = judged.why.as_ref().filter(|why| status.unsigned.as_ref() != Some(why)) {
            let pin = status.pin.as_ref().map(ToString::to_string);
            tracing::warn!(pin, digest, why, "an artifact serves without a valid signature");
        }
        status.signer = judged.signer;
        status.unsigned = judged.why;
    }

    fn take_away(&mut self, digest: &str, pin: &Pin, error: &SignatureError, now_ms: u64) {
        tracing::error!(%pin, digest, %error, "artifact refused; it serves nobody, and is taken away");
        if let Some(status) = self.statuses.get_mut(digest) {
            status.state = ArtifactState::Failed;
            status.error = Some(error.to_string());
            status.loaded_at_ms = now_ms;
            (status.signer, status.unsigned) = (None, None);
        }
        if self.active.get(pin).is_some_and(|plugin| *plugin.id.digest == *digest) {
            Arc::make_mut(&mut self.active).remove(pin);
        }
    }
}
