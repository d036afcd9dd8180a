//! What of the archive is in use, so that the rest can be dropped once no record refers to it.

use std::collections::HashSet;

use super::Reloader;
use crate::app::archiving::digests_of;
use crate::app::build::wanted;
use crate::ledger::{LedgerError, Reads as _};
use crate::registry::Dropped;

/// Kept beyond the retention of decisions: uses are noted once an hour, expiry takes a while, and a clock may be
/// off by some.
const MARGIN_MS: u64 = 2 * 24 * 60 * 60 * 1000;

impl Reloader {
    /// Notes what of the archive is in use, and drops what no record, experiment or version that is named needs
    /// any more. Nothing is dropped while the clock is not trusted, or where records are kept for ever.
    pub fn tidy_archive(&self, is_clock_trusted: bool) {
        self.survive(|| self.tidy(is_clock_trusted));
    }

    fn tidy(&self, is_clock_trusted: bool) {
        let now_ms = self.clock.now_ms();
        let mut needed = self.in_use();
        if is_clock_trusted {
            self.archive.note_use(needed.iter().map(String::as_str), now_ms);
        }
        let Some(keep) = self.retain.borrow().decisions.filter(|_| is_clock_trusted) else { return };
        let dropped = self.of_experiments().map_err(|error| error.to_string()).and_then(|specs| {
            needed.extend(specs);
            let before_ms = now_ms.saturating_sub(keep.as_millis() as u64).saturating_sub(MARGIN_MS);
            self.archive.expire(&needed, before_ms).map_err(|error| error.to_string())
        });
        match dropped {
            Ok(Dropped { blobs: 0, .. }) => {}
            Ok(Dropped { blobs, bytes }) => {
                tracing::info!(blobs, bytes, "dropped from the archive what no record refers to any more");
            }
            Err(error) => tracing::warn!(error, "the archive could not be tidied; it is tried again in an hour"),
        }
    }

    /// The digests of what is in force, loaded, named, or needed by a restart.
    fn in_use(&self) -> HashSet<String> {
        let mut used: HashSet<String> = self.folder.digests().into_iter().collect();
        used.extend(digests_of(&self.deployment.load()));
        let inner = self.inner();
        let (config, specs) = (&inner.config, &inner.specs);
        let mut pins = wanted(config, &[]);
        pins.extend(specs.pins());
        let mut models: Vec<String> = config.models.keys().map(ToString::to_string).collect();
        if let Some(files) = &inner.judged {
            pins.extend(wanted(&files.config, &self.candidates(&inner, files)));
            models.extend(files.config.models.keys().map(ToString::to_string));
        }
        used.extend(pins.iter().filter_map(|pin| self.archive.published(pin)));
        let last = self.archive.last_generation();
        let generations = [last, last.saturating_sub(1)].map(|number| ("generation", number.to_string()));
        let named = models.into_iter().map(|model| ("model", model)).chain(generations);
        let named = named.chain(self.archive.names("experiment").into_iter().map(|file| ("experiment", file)));
        used.extend(named.filter_map(|(kind, name)| self.archive.applied(kind, &name)).flatten());
        used
    }

    /// The specs that statuses, their history and final reports refer to, for as long as those are kept.
    fn of_experiments(&self) -> Result<Vec<String>, LedgerError> {
        self.controller.ledger().spec_digests()
    }
}
