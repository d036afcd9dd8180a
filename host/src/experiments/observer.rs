//! Observes the ledger: the facts of running experiments' units, updated incrementally.
//!
//! Experiments that are read up to the same cursor form a group. The first group follows the
//! ledger's end. An experiment that must be read from the beginning, because its metrics were
//! edited or its file came back, is read in a group of its own, some rows at a time. Meanwhile the
//! first group continues with the previous spec. Once both are at the same cursor, the groups are
//! merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::Name;
use serin_core::analysis::{Analysis, Course, Decision, Happened, KeptAnalysis, NeverPosted, Observed};
use serin_core::experiment::{Experiment, Metric};

use crate::ledger::{Cursor, ExposureFact, Fact, Ledger, LedgerError, LedgerReader, OutcomeFact, Snapshot};

/// Rows read under one lock: a few tens of milliseconds.
const ROWS: i64 = 20_000;
/// The most reads of [`ROWS`] in one tick: a ledger of ten million decisions.
const MOST_READS: usize = 500;
/// Reads of [`ROWS`] per tick for experiments that are read from the beginning.
const READS_BEHIND: usize = 10;

/// A spec to analyse, and its course.
#[derive(Debug, Clone)]
pub struct AnalysisSubject {
    /// The spec.
    pub spec: Arc<Experiment>,
    /// Its course.
    pub course: Course,
    /// The pin of its decision point.
    pub pin: String,
}

impl AnalysisSubject {
    /// The same, with what came after its end.
    pub fn without_end(self) -> Self {
        Self { course: self.course.without_end(), ..self }
    }

    fn is_analysed_as(&self, other: &Self) -> bool {
        self.spec.digest == other.spec.digest && self.course == other.course
    }
}

/// An experiment whose units are followed.
pub struct Followed {
    /// The spec and the course of the analysis.
    pub subject: AnalysisSubject,
    /// Its units.
    pub observed: Observed,
    analysis: Option<KeptAnalysis>,
    /// Some outcome of each name that it measures was posted.
    all_posted: bool,
    /// Up to where posted names were looked for.
    names_as_of: Option<Cursor>,
}

impl Followed {
    fn new(subject: &AnalysisSubject) -> Self {
        let observed = Observed::over(Arc::clone(&subject.spec), subject.course.clone());
        Self { subject: subject.clone(), observed, analysis: None, all_posted: false, names_as_of: None }
    }

    /// The analysis at `now_ms`, and whether it is new. The last one is reused if no fact was added
    /// and no unit has become mature.
    pub fn analysis(&mut self, now_ms: u64) -> (&Observed, &Analysis, bool) {
        let (analysis, is_new) = KeptAnalysis::at(&mut self.analysis, &self.observed, now_ms);
        (&self.observed, analysis, is_new)
    }

    /// Updates the subject if the facts remain valid, and says whether they do.
    fn take_over(&mut self, subject: &AnalysisSubject) -> bool {
        let is_same = self.subject.spec.digest == subject.spec.digest;
        let stays = self.observed.continue_with(&subject.course) && (is_same || self.observed.adopt(&subject.spec));
        if stays {
            self.subject = subject.clone();
        }
        stays
    }

    /// Looks up the feeds of its outcomes. Call it before rows of the snapshot are read.
    fn look_for_feeds(&mut self, snapshot: &Snapshot<'_>) -> Result<(), LedgerError> {
        let names: BTreeSet<&str> =
            self.observed.spec.metrics.iter().flat_map(Metric::outcomes).map(|name| &**name).collect();
        let course = &self.subject.course;
        let feeds = snapshot.feeds(&course.unit, names, course.ended_ms)?;
        if self.observed.set_feeds(feeds) {
            // A watermark may have named one that nobody had posted.
            self.names_as_of = None;
        }
        Ok(())
    }

    /// Looks for which of its outcomes nobody posts. Once a name was posted since the start, it stays so.
    fn look_for_names(&mut self, snapshot: &Snapshot<'_>) -> Result<(), LedgerError> {
        let end = snapshot.end();
        if self.all_posted || self.names_as_of.is_some_and(|before| before.has_same_outcomes(&end)) {
            return Ok(());
        }
        let spec = &self.observed.spec;
        let names = spec.metrics.iter().flat_map(Metric::needed_outcomes).map(|name| &**name);
        let course = &self.subject.course;
        let since_ms = course.started_ms.unwrap_or_default();
        let (mut never_posted, all_posted) = snapshot.never_posted(&course.unit, since_ms, names)?;
        self.all_posted = all_posted;
        if course.ended_ms.is_some() {
            never_posted.extend(self.unheard_at_end(&never_posted));
        }
        self.observed.set_never_posted(never_posted);
        self.names_as_of = Some(end);
        Ok(())
    }

    /// The outcomes that nobody had posted when it ended, beside those that nobody has posted since.
    fn unheard_at_end(&self, known: &[NeverPosted]) -> Vec<NeverPosted> {
        let is_known = |name: &str| known.iter().any(|never| *never.name == *name);
        let needed = self.observed.spec.metrics.iter().flat_map(Metric::needed_outcomes);
        let needed: BTreeSet<&str> = needed.map(|name| &**name).filter(|name| !is_known(name)).collect();
        let feeds = self.observed.feeds(0).into_iter().map(|found| found.feed);
        let unheard = feeds.filter(|feed| feed.heard_ms.is_none() && feed.watermark_ms.is_none());
        let unheard = unheard.filter(|feed| needed.contains(&*feed.name));
        unheard.map(|feed| NeverPosted { name: feed.name, similar: None, was_posted_before: false }).collect()
    }

    fn outcome(&mut self, fact: &OutcomeFact<'_>) {
        if fact.kind.is_some_and(|kind| *kind != *self.subject.course.unit) {
            return;
        }
        let OutcomeFact { unit, at_ms, received_ms, after, .. } = *fact;
        let happened = Happened { unit, at_ms, received_ms, after };
        self.observed.set_stored(fact.stored_ms);
        match fact.is_reversed {
            true => self.observed.reversal(&happened, fact.name, fact.value),
            false => self.observed.outcome(&happened, fact.name, fact.value),
        }
    }
}

/// Experiments that are read up to the same cursor.
#[derive(Default)]
struct Group {
    cursor: Cursor,
    by_id: BTreeMap<Name, Followed>,
}

impl Group {
    /// Continues reading. Says whether the whole snapshot was read.
    fn read(&mut self, snapshot: &Snapshot<'_>) -> Result<bool, LedgerError> {
        let Self { cursor, by_id } = self;
        if by_id.is_empty() {
            // No experiment is followed.
            *cursor = snapshot.end();
        }
        by_id.values_mut().try_for_each(|followed| followed.look_for_feeds(snapshot))?;
        let is_whole = snapshot.read(cursor, ROWS, |fact| take(by_id, &fact))?;
        if is_whole {
            by_id.values_mut().try_for_each(|followed| followed.look_for_names(snapshot))?;
        }
        Ok(is_whole)
    }
}

fn take(by_id: &mut BTreeMap<Name, Followed>, fact: &Fact<'_>) {
    match fact {
        Fact::Decision(fact) => {
            if let Some(followed) = by_id.get_mut(fact.experiment) {
                followed.observed.decision(&Decision {
                    place: fact.place,
                    unit: fact.unit,
                    arm: fact.arm,
                    time_ms: fact.time_ms,
                    action: fact.action,
                    outcome: fact.outcome,
                    fell_back: fact.served_by.starts_with("fallback"),
                    took_us: fact.took_us,
                    forced: fact.forced,
                    batch: fact.batch,
                    attributes: fact.attributes,
                });
            }
        }
        // Exclusion stands above experiments: those of its point are the ones that it kept the unit from.
        Fact::Excluded(fact) => by_id
            .values_mut()
            .filter(|followed| *followed.subject.spec.decision_point == *fact.point)
            .for_each(|followed| {
                followed.observed.set_stored(fact.time_ms);
                followed.observed.exclusion(fact.unit);
            }),
        Fact::Outcome(fact) => by_id.values_mut().for_each(|followed| followed.outcome(fact)),
        Fact::Unreadable(fact) => by_id
            .iter_mut()
            .filter(|(id, _)| fact.experiment.is_none_or(|experiment| *experiment == ***id))
            .for_each(|(_, followed)| followed.observed.unreadable(fact.table, fact.place, fact.why)),
        // An exposure to another experiment's decision does not count for this one.
        Fact::Exposure(fact) => {
            if let Some(followed) = by_id.get_mut(fact.experiment) {
                let ExposureFact { unit, at_ms, received_ms, after, .. } = *fact;
                followed.observed.set_stored(received_ms);
                followed.observed.exposure(&Happened { unit, at_ms, received_ms, after });
            }
        }
    }
}

/// Reads all facts of one experiment from a ledger.
///
/// # Errors
/// SQLite's error.
pub fn read_whole(ledger: &LedgerReader, subject: &AnalysisSubject) -> Result<Observed, LedgerError> {
    ledger.snapshot(|snapshot| {
        let mut group = Group::default();
        group.by_id.insert(subject.spec.id.clone(), Followed::new(subject));
        while !group.read(snapshot)? {}
        let followed = group.by_id.into_values().next();
        Ok(followed.map_or_else(|| Observed::new(Arc::clone(&subject.spec)), |followed| followed.observed))
    })
}

/// The availability of an experiment's facts.
pub enum Seen<T> {
    /// All of its facts in the ledger are read.
    Whole(T),
    /// Its facts are still being read.
    Reading,
    /// It is not followed: it has not started, or has ended.
    Unknown,
}

struct Following {
    /// The first group follows the ledger's end; the others catch up with it.
    groups: Vec<Group>,
    /// The subjects in force, by id.
    in_force: BTreeMap<Name, AnalysisSubject>,
    /// Every experiment that was ever followed.
    ever: BTreeSet<Name>,
}

impl Following {
    /// The group that follows the ledger's end.
    fn first(&mut self) -> &mut Group {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        &mut self.groups[0]
    }

    /// Merges the groups that have caught up into the first.
    fn merge(&mut self) {
        let cursor = self.first().cursor;
        let (caught_up, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.groups).into_iter().partition(|group| group.cursor == cursor);
        let by_id = caught_up.into_iter().flat_map(|group| group.by_id).collect();
        self.groups = std::iter::once(Group { cursor, by_id }).chain(rest).collect();
    }

    fn is_behind(&self, id: &str) -> bool {
        self.groups.iter().skip(1).any(|group| group.by_id.contains_key(id))
    }
}

/// Follows a running host's ledger.
pub struct Observer {
    ledger: Arc<Ledger>,
    following: Mutex<Following>,
}

impl Observer {
    /// Follows `ledger`.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        let following = Following { groups: vec![Group::default()], in_force: BTreeMap::new(), ever: BTreeSet::new() };
        Self { ledger, following: Mutex::new(following) }
    }

    /// Follows these subjects from now on, and no others. Call it before the deployment in which
    /// they take units is put in force. `has_just_begun` says which ones cannot have decisions in
    /// the ledger yet, so that the ledger need not be read for them.
    pub fn follow(&self, subjects: &[AnalysisSubject], has_just_begun: impl Fn(&Name) -> bool) {
        let mut following = self.following.lock();
        let following = &mut *following;
        for group in &mut following.groups {
            group.by_id.retain(|id, _| subjects.iter().any(|subject| subject.spec.id == *id));
        }
        for subject in subjects {
            let id = &subject.spec.id;
            let is_first_time = following.ever.insert(id.clone());
            let taken_over = following.groups.iter_mut().enumerate().rev().find_map(|(at, group)| {
                let followed = group.by_id.get_mut(id)?;
                followed.take_over(subject).then_some(at)
            });
            match taken_over {
                // Facts read for an edit that was undone are dropped.
                Some(at) => following.groups.iter_mut().skip(at + 1).for_each(|group| drop(group.by_id.remove(id))),
                None => {
                    following.groups.iter_mut().skip(1).for_each(|group| drop(group.by_id.remove(id)));
                    let begins = following.first().cursor == Cursor::default();
                    let joins_first = begins || (is_first_time && has_just_begun(id));
                    if !joins_first && following.groups.last().is_none_or(|last| last.cursor != Cursor::default()) {
                        following.groups.push(Group::default());
                    }
                    let at = if joins_first { 0 } else { following.groups.len() - 1 };
                    following.groups[at].by_id.insert(id.clone(), Followed::new(subject));
                }
            }
        }
        following.groups = std::mem::take(&mut following.groups)
            .into_iter()
            .enumerate()
            .filter(|(at, group)| *at == 0 || !group.by_id.is_empty())
            .map(|(_, group)| group)
            .collect();
        following.in_force = subjects.iter().map(|subject| (subject.spec.id.clone(), subject.clone())).collect();
    }

    /// Reads new rows, and some rows for experiments that are read from the beginning. After an
    /// error the next call continues where this one stopped.
    ///
    /// # Errors
    /// SQLite's error, or that the ledger grows faster than it is read.
    pub fn read(&self) -> Result<(), LedgerError> {
        for _ in 0..READS_BEHIND {
            match self.read_behind() {
                Ok(true) => break,
                Ok(false) => {}
                // It holds up its own experiments, and no others.
                Err(error) => {
                    crate::telemetry::log_limited!(error, %error, "experiments could not be read from the beginning");
                    break;
                }
            }
        }
        for _ in 0..MOST_READS {
            // The lock is released between two reads.
            if self.read_first()? {
                return Ok(());
            }
        }
        Err(LedgerError::Database("the ledger grows faster than it is read".to_owned()))
    }

    /// Continues reading in every group that has to catch up, in one snapshot. Says whether all
    /// reached its end.
    fn read_behind(&self) -> Result<bool, LedgerError> {
        let mut following = self.following.lock();
        if following.groups.len() <= 1 {
            return Ok(true);
        }
        self.ledger.snapshot(|snapshot| {
            let mut is_whole = true;
            for group in following.groups.iter_mut().skip(1) {
                is_whole &= group.read(snapshot)?;
            }
            Ok(is_whole)
        })
    }

    /// Continues reading in the first group. Once it has reached the snapshot's end, groups that
    /// reach it too are merged. Says whether it has.
    fn read_first(&self) -> Result<bool, LedgerError> {
        let mut following = self.following.lock();
        self.ledger.snapshot(|snapshot| {
            let is_whole = following.first().read(snapshot)?;
            if is_whole {
                for group in following.groups.iter_mut().skip(1) {
                    // One that cannot be read stays behind, and is read again by the next call.
                    if let Err(error) = group.read(snapshot) {
                        tracing::debug!(%error, "a group stays behind");
                    }
                }
                following.merge();
            }
            Ok(is_whole)
        })
    }

    /// Calls `look` with every experiment whose facts are read up to the ledger's end, and with the
    /// subject in force now, whose spec may be a newer one.
    pub fn each<T>(&self, mut look: impl FnMut(&mut Followed, &AnalysisSubject) -> Option<T>) -> Vec<T> {
        let mut following = self.following.lock();
        let Following { groups, in_force, .. } = &mut *following;
        let followed = groups.first_mut().into_iter().flat_map(|group| group.by_id.iter_mut());
        followed.filter_map(|(id, followed)| look(followed, in_force.get(id)?)).collect()
    }

    /// Calls `look` with the experiments that were analysed, or with the one of an id, and with the last
    /// analysis of each: nothing is computed anew.
    pub fn each_analysed<T>(&self, id: Option<&str>, mut look: impl FnMut(&Observed, &Analysis) -> T) -> Vec<T> {
        let following = self.following.lock();
        let followed = following.groups.first().into_iter().flat_map(|group| &group.by_id);
        let asked = followed.filter(|(known, _)| id.is_none_or(|id| ***known == *id));
        asked.filter_map(|(_, followed)| Some(look(&followed.observed, followed.analysis.as_ref()?.last()))).collect()
    }

    /// Reads new rows, and calls `look` with one experiment as it is in force now.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn with<T>(&self, id: &str, look: impl FnOnce(&mut Followed) -> T) -> Result<Seen<T>, LedgerError> {
        for _ in 0..MOST_READS {
            let behind = self.read_behind();
            if !self.read_first()? {
                continue;
            }
            let mut following = self.following.lock();
            if following.is_behind(id) {
                behind?;
                continue;
            }
            let in_force = following.in_force.get(id).cloned();
            let followed = following.first().by_id.get_mut(id);
            return Ok(match followed.zip(in_force) {
                Some((followed, subject)) if followed.subject.is_analysed_as(&subject) => Seen::Whole(look(followed)),
                Some(_) => Seen::Reading,
                None => Seen::Unknown,
            });
        }
        Ok(Seen::Reading)
    }
}
