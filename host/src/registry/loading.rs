//! What is to be loaded, and in what order. Compiling cannot be interrupted, and there are small
//! files that keep a compiler busy for minutes. So what the deployment names is loaded apart from
//! the rest, one at a time each, and one that takes too long gives up its place.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_core::experiment::Pin;

use super::admission::Grounds;
use crate::clock::Budget;

/// How long others wait for one that is being loaded.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How many that take longer are borne before no file that nobody names is tried, and no file at all.
const LATE: [usize; 2] = [3, 6];

/// An artifact that is to be loaded.
#[derive(Clone)]
pub(super) struct Job {
    pub digest: String,
    /// The version that its manifest names, where it could be read.
    pub pin: Option<Pin>,
    pub source: Source,
    /// The deployment names it.
    pub is_wanted: bool,
    /// It was served before.
    pub is_known: bool,
    /// What was wrong with it the last time: the same is not told again.
    pub told: Option<String>,
    /// What there was of its signature when it was put into the queue.
    pub grounds: Grounds,
}

/// Where an artifact is read from.
#[derive(Clone)]
pub(super) enum Source {
    /// A file of the plugins folder.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its name, as it is shown.
        shown: String,
    },
    /// The archive: the folder lacks it.
    Archive,
}

impl Source {
    /// Where the file is; none where it is from the archive.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Archive => None,
        }
    }

    /// The file's name; empty where it is from the archive.
    pub fn file(&self) -> &str {
        match self {
            Self::File { shown, .. } => shown,
            Self::Archive => "",
        }
    }
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// What the deployment names and was served before.
    LastGood,
    /// What the deployment names.
    Named,
    /// Everything.
    All,
}

/// How far the load of a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadProgress {
    /// Others are loaded before it.
    Queued,
    /// It has been under way for so long.
    Compiling(Duration),
}

impl std::fmt::Display for LoadProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queued => f.write_str("waits for its turn to be compiled"),
            Self::Compiling(time) => write!(f, "has been compiling for {} s", time.as_secs()),
        }
    }
}

struct Running {
    digest: String,
    pin: Option<Pin>,
    is_wanted: bool,
    is_known: bool,
    time: Budget,
    /// Nothing waits for it any more.
    is_late: bool,
}

/// What waits to be loaded, and what is being loaded.
#[derive(Default)]
pub(super) struct Loading {
    queue: VecDeque<Job>,
    running: Vec<Running>,
}

impl Loading {
    /// Says whether an artifact is being loaded or waits for it. One that waits is from the folder
    /// where the folder has it, and is as urgent as the most urgent who asks.
    pub fn knows(&mut self, job: &Job) -> bool {
        if let Some(known) = self.queue.iter_mut().find(|known| known.digest == job.digest) {
            known.is_wanted |= job.is_wanted;
            known.is_known |= job.is_known;
            if matches!(known.source, Source::Archive) {
                known.source = job.source.clone();
            }
            return true;
        }
        self.running.iter().any(|running| running.digest == job.digest)
    }

    pub fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// The next one that may begin, which is then under way.
    pub fn next(&mut self) -> Option<Job> {
        let late = self.running.iter().filter(|running| running.is_late).count();
        for (is_wanted, bearable) in [(true, LATE[1]), (false, LATE[0])] {
            let is_taken = self.running.iter().any(|running| !running.is_late && running.is_wanted == is_wanted);
            if is_taken || late >= bearable {
                continue;
            }
            if let Some(job) =
                self.queue.iter().position(|job| job.is_wanted == is_wanted).and_then(|at| self.queue.remove(at))
            {
                let Job { ref digest, ref pin, is_known, .. } = job;
                let (digest, pin, time) = (digest.clone(), pin.clone(), Budget::new(PATIENCE));
                self.running.push(Running { digest, pin, is_wanted, is_known, time, is_late: false });
                return Some(job);
            }
        }
        None
    }

    /// The versions that are being loaded or wait for it, and how far they are.
    pub fn progress(&self) -> Vec<(Pin, LoadProgress)> {
        let running = self.running.iter().filter(|running| !running.is_late).filter_map(|running| {
            let time = Duration::from_micros(running.time.spent_us());
            Some((running.pin.clone()?, LoadProgress::Compiling(time)))
        });
        running.chain(self.queue.iter().filter_map(|job| Some((job.pin.clone()?, LoadProgress::Queued)))).collect()
    }

    pub fn is_busy(&self, awaited: Awaited) -> bool {
        let is_awaited = |is_wanted, is_known| match awaited {
            Awaited::LastGood => is_wanted && is_known,
            Awaited::Named => is_wanted,
            Awaited::All => true,
        };
        self.queue.iter().any(|job| is_awaited(job.is_wanted, job.is_known))
            || self.running.iter().any(|running| !running.is_late && is_awaited(running.is_wanted, running.is_known))
    }

    /// Notes that one ended, or could not begin.
    pub fn end(&mut self, digest: &str) {
        self.running.retain(|running| running.digest != digest);
    }

    /// Has those that take too long give up their places; their digests.
    pub fn give_up_on_late(&mut self) -> Vec<String> {
        let late = self.running.iter_mut().filter(|running| !running.is_late && running.time.left().is_zero());
        late.map(|running| {
            running.is_late = true;
            running.digest.clone()
        })
        .collect()
    }
}
