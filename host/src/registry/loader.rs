//! Loading artifacts, on threads that nobody waits for. One that takes too long is shown as failed,
//! and served after all if it is ever done.

use std::sync::Arc;
use std::time::Duration;

use serin_core::experiment::Pin;
use serin_core::{bounds, message_to};

use super::AGAIN_MS;
use super::admission::{Grounds, judge};
use super::artifact::{ArtifactError, Plugin, read_file, refused_draft};
use super::folder::{ArtifactState, Broken, Folder, Inner, NotLoaded, pin_of};
use super::loading::{Awaited, Job, PATIENCE, Source};
use crate::clock::Budget;
use crate::signatures::{Judged, SignatureError};

/// How long the end of a load that nobody named waits to be told, where others follow.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What was loaded, and what was found of its signature.
struct Loaded {
    pin: Pin,
    plugin: Plugin,
    judged: Judged,
    grounds: Grounds,
}

impl Inner {
    /// Has those that take too long give up their places.
    pub(super) fn give_up_on_late(&mut self) {
        for digest in self.loading.give_up_on_late() {
            let error = format!("takes longer than {} s to load; nothing waits for it any more", PATIENCE.as_secs());
            tracing::error!(digest, error, "artifact refused; what is loaded keeps serving");
            if let Some(status) = self.statuses.get_mut(&digest) {
                status.state = ArtifactState::Failed;
                status.error = Some(error);
            }
        }
    }
}

impl Folder {
    /// Begins to load what may begin, each on a thread of its own.
    pub(super) fn start_loading(self: &Arc<Self>, now_ms: u64) {
        loop {
            let Some(job) = self.inner().loading.next() else { return };
            let (folder, begun) = (Arc::clone(self), job.clone());
            let spawned = std::thread::Builder::new().name("serin-load".into()).spawn(move || {
                let time = Budget::new(PATIENCE);
                let pin = begun.pin.as_ref().map(ToString::to_string);
                match &begun.source {
                    Source::File { shown, .. } => tracing::info!(file = shown, pin, "artifact found, compiling"),
                    Source::Archive => tracing::info!(pin, "found in the archive, compiling"),
                }
                folder.engines.give_way();
                // Whatever it meets, it gives up its place.
                let load = || serin_core::caught(|| Ok(folder.load(&begun)));
                let loaded = load().unwrap_or_else(|defect| Err(NotLoaded::for_good(defect)));
                let now_ms = now_ms + time.spent_us() / 1000;
                folder.end(&begun, loaded, now_ms, time);
                folder.start_loading(now_ms);
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread to load an artifact on; it is tried again");
                let inner = &mut *self.inner();
                inner.loading.end(&job.digest);
                inner.loading.push(job);
                return;
            }
        }
    }

    /// Waits until what is awaited was loaded or refused, at most `limit`.
    pub fn wait(&self, awaited: Awaited, limit: Duration) {
        let mut inner = self.inner();
        let _ = self.ended.wait_while_for(&mut inner, |inner| inner.loading.is_busy(awaited), limit);
    }

    fn load(&self, job: &Job) -> Result<Loaded, NotLoaded> {
        let bytes = match &job.source {
            Source::File { path, .. } => read_file(path).map_err(|error| self.not_loaded(job, error))?,
            Source::Archive => self
                .archive
                .get(&job.digest)
                .ok_or_else(|| NotLoaded::for_now("the archive does not have it, or not as it was"))?,
        };
        if crate::digest::digest(&bytes) != job.digest {
            return Err(NotLoaded::for_good("the file has changed since"));
        }
        // Before anything of it is compiled or run.
        let (path, admission) = (job.source.path(), self.inner().admission.clone());
        let grounds = admission.of(path, job.pin.as_ref());
        let of = (job.pin.as_ref(), &*job.digest, &bytes[..]);
        let judged = judge(&admission.trust, Some(&self.archive), of, path, grounds.is_in_force);
        let judged = judged.map_err(|error| match error {
            SignatureError::Unread(_) => NotLoaded::for_now(error),
            error => NotLoaded::for_good(error),
        })?;
        if let Some(why) = refused_draft(&bytes).filter(|_| !self.dev) {
            return Err(NotLoaded::for_good(why));
        }
        let plugin = Plugin::load(&self.engines, &bytes).map_err(|error| self.not_loaded(job, error))?;
        let pin = pin_of(&plugin);
        if matches!(job.source, Source::File { .. }) {
            let unkept = |why| NotLoaded::for_now(format!("it could not be archived: {why}"));
            if !self.dev {
                self.archive.admits(&pin, &job.digest).map_err(NotLoaded::for_good)?;
            }
            self.archive.put(&bytes).map_err(unkept)?;
            if let Some(text) = &judged.text {
                self.archive.put_signature(&job.digest, text).map_err(unkept)?;
            }
            // A draft is no version that anybody has published.
            if !plugin.contents.is_draft {
                self.archive.apply("plugin", &pin.to_string(), &[&job.digest]).map_err(unkept)?;
            }
        }
        Ok(Loaded { pin, plugin, judged, grounds })
    }

    /// What keeps an artifact from being loaded, and whether it is tried again.
    fn not_loaded(&self, job: &Job, error: ArtifactError) -> NotLoaded {
        if error.is_of_the_system() {
            NotLoaded::for_now(error)
        } else if error.is_passing() {
            NotLoaded { again_after_ms: Some(self.inner().busy_with(&job.digest)), ..NotLoaded::for_good(error) }
        } else {
            NotLoaded::for_good(error)
        }
    }

    /// Notes what came of a load, and tells those who wait.
    fn end(&self, job: &Job, loaded: Result<Loaded, NotLoaded>, now_ms: u64, time: Budget) {
        let is_told = {
            let inner = &mut *self.inner();
            inner.loading.end(&job.digest);
            match loaded {
                Ok(loaded) => inner.loaded(job, loaded, now_ms, time),
                Err(trouble) => inner.refused(job, trouble, now_ms),
            }
            inner.is_to_be_told(job)
        };
        self.ended.notify_all();
        if let Some(call) = self.on_loaded.get().filter(|_| is_told) {
            call();
        }
    }
}

impl Inner {
    /// Says whether the end of a load is told at once. Each telling has all files looked at, so in a folder of
    /// a thousand versions that nobody names, it is told of several together.
    fn is_to_be_told(&mut self, job: &Job) -> bool {
        let is_due = self.told.is_none_or(|told| told.left().is_zero());
        let is_told = job.is_wanted || is_due || !self.loading.is_busy(Awaited::All);
        if is_told {
            self.told = Some(Budget::new(TELL_EVERY));
        }
        is_told
    }

    /// After how many milliseconds an artifact is tried again that the machine was too busy for:
    /// each time twice as long, since to try it makes the machine busier.
    fn busy_with(&mut self, digest: &str) -> u64 {
        let times = self.busy.entry(digest.to_owned()).or_default();
        *times += 1;
        AGAIN_MS << (*times).min(10)
    }

    fn loaded(&mut self, job: &Job, loaded: Loaded, now_ms: u64, time: Budget) {
        let Loaded { pin, plugin, judged, grounds } = loaded;
        let digest = &job.digest;
        let signer = judged.signer.as_ref().map(ToString::to_string);
        let seconds = format!("{:.1}", time.spent_us() as f64 / 1e6);
        self.broken.remove(digest);
        let file = job.source.file();
        if matches!(job.source, Source::Archive) {
            if self.active.contains_key(&pin) {
                // The folder has another one by now, which comes before the archive's.
                self.statuses.remove(digest);
                return;
            }
            let mut refused = self.statuses.values().filter(|status| status.state == ArtifactState::Failed);
            match refused.find(|status| status.pin.as_ref() == Some(&pin)).and_then(|status| status.file.as_deref()) {
                Some(file) => {
                    tracing::warn!(file, %pin, digest, seconds, "the file of this version is refused; it is served from the archive");
                }
                None => {
                    tracing::warn!(%pin, digest, seconds, "the plugins folder lacks this version; it is served from the archive");
                }
            }
        } else if self.seen.values().any(|seen| seen.digest == *digest) {
            tracing::info!(file, %pin, digest, signer, seconds, "artifact loaded");
        } else {
            // The file holds something else by now, or is gone.
            self.statuses.remove(digest);
            return;
        }
        self.note(file, digest.clone(), ArtifactState::Active, None, Some(&plugin), now_ms);
        self.judged.insert(digest.clone(), grounds);
        self.judge(digest, judged);
        if matches!(job.source, Source::Archive)
            && let Some(status) = self.statuses.get_mut(digest)
        {
            status.stale = true;
        }
        if let Some(old) = Arc::make_mut(&mut self.active).insert(pin, Arc::new(plugin))
            && *old.id.digest != **digest
            && let Some(status) = self.statuses.get_mut(&*old.id.digest)
        {
            status.state = ArtifactState::Retired;
        }
    }

    fn refused(&mut self, job: &Job, trouble: NotLoaded, now_ms: u64) {
        let again_ms = trouble.again_after_ms.map(|after_ms| now_ms + after_ms);
        let (digest, error) = (&job.digest, trouble.why);
        // It is tried again and again; trouble is told once.
        let is_news = job.told.as_ref() != Some(&error);
        match &job.source {
            Source::Archive => {
                if is_news {
                    let pin = job.pin.as_ref().map(ToString::to_string);
                    tracing::error!(pin, digest, error, "this version cannot be served from the archive either");
                }
                self.statuses.remove(digest);
                let pin = job.pin.clone();
                self.broken.insert(digest.clone(), Broken { why: error, pin, at_ms: now_ms, again_ms });
            }
            Source::File { shown, .. } => {
                if is_news {
                    tracing::error!(file = shown, error, "artifact refused; what is loaded keeps serving");
                }
                self.note(shown, digest.clone(), ArtifactState::Failed, Some(error), None, now_ms);
                if let Some(status) = self.statuses.get_mut(digest) {
                    status.pin.clone_from(&job.pin);
                }
                for seen in self.seen.values_mut().filter(|seen| seen.digest == *digest) {
                    // Signed otherwise since it was begun: it is judged by what there is now.
                    seen.again_ms = if seen.grounds == job.grounds { again_ms } else { Some(now_ms) };
                }
            }
        }
    }
}

impl NotLoaded {
    /// Nothing but another file changes it.
    fn for_good(why: impl ToString) -> Self {
        Self { why: message_to(&why.to_string(), bounds::MESSAGE), again_after_ms: None }
    }

    /// It may be otherwise next time.
    fn for_now(why: impl ToString) -> Self {
        Self { again_after_ms: Some(AGAIN_MS), ..Self::for_good(why) }
    }
}
