//! What the ledger knows of the experiments' units, kept up to date a little at a time.
//!
//! Experiments that are read up to the same cursor form a group. The first group follows the
//! ledger's end. An experiment that has to be read from the beginning, since its metrics were
//! edited or its file came back, is read in a group of its own, some rows at each look, while the
//! first group goes on with what it had; once both are at the same cursor the groups are merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::Name;
use serin_core::analysis::{Analysis, Course, Decision, Happened, KeptAnalysis, Observed};
use serin_core::experiment::{Experiment, Metric};

use crate::ledger::{Cursor, Fact, Ledger, LedgerError, LedgerReader, OutcomeFact, Snapshot};

/// Rows that are read under the lock at once: a few tens of milliseconds.
const ROWS: i64 = 20_000;
/// Reads of [`ROWS`] that one look waits for: a ledger of ten million decisions.
const MOST_READS: usize = 500;
/// Reads of [`ROWS`] a look for experiments that are read from the beginning.
const READS_BEHIND: usize = 10;

/// A spec that is analysed, and how it was run.
#[derive(Debug, Clone)]
pub struct AnalysisSubject {
    /// The spec.
    pub spec: Arc<Experiment>,
    /// How it was run.
    pub course: Course,
    /// What its decision point is pinned to.
    pub pin: String,
}

impl AnalysisSubject {
    fn is_analysed_as(&self, other: &Self) -> bool {
        self.spec.digest == other.spec.digest && self.course == other.course
    }
}

/// An experiment whose units are followed.
pub struct Followed {
    /// By which spec its units are analysed, and how it was run.
    pub subject: AnalysisSubject,
    /// Its units.
    pub observed: Observed,
    analysis: Option<KeptAnalysis>,
    /// Some outcome of each name that it measures was posted.
    all_posted: bool,
}

impl Followed {
    fn new(subject: &AnalysisSubject) -> Self {
        let observed = Observed::over(Arc::clone(&subject.spec), subject.course.clone());
        Self { subject: subject.clone(), observed, analysis: None, all_posted: false }
    }

    /// What its units show at `now_ms`, and whether that is news: where nothing was added and
    /// nothing has become mature, the last analysis stands.
    pub fn analysis(&mut self, now_ms: u64) -> (&Observed, &Analysis, bool) {
        let (analysis, is_new) = KeptAnalysis::at(&mut self.analysis, &self.observed, now_ms);
        (&self.observed, analysis, is_new)
    }

    /// Takes over a subject where its units stay as they are; says whether they do.
    fn take_over(&mut self, subject: &AnalysisSubject) -> bool {
        let stays = self.subject.spec.digest == subject.spec.digest && self.observed.continue_with(&subject.course);
        if stays {
            self.subject = subject.clone();
        }
        stays
    }

    /// Looks for which of its outcomes were never posted. Once a name was, it stays so.
    fn look_for_names(&mut self, snapshot: &Snapshot<'_>) -> Result<(), LedgerError> {
        if self.all_posted {
            return Ok(());
        }
        let spec = &self.observed.spec;
        let names = spec.metrics.iter().flat_map(Metric::needed_outcomes).map(|name| &**name);
        let never_posted = snapshot.never_posted(&self.subject.course.unit, names)?;
        self.all_posted = never_posted.is_empty();
        self.observed.set_never_posted(never_posted);
        Ok(())
    }

    fn outcome(&mut self, fact: &OutcomeFact<'_>) {
        if fact.kind.is_some_and(|kind| *kind != *self.subject.course.unit) {
            return;
        }
        let happened = Happened { unit: fact.unit, at_ms: fact.at_ms, after: fact.after };
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
    /// Reads on; says whether everything in the snapshot was read.
    fn read(&mut self, snapshot: &Snapshot<'_>) -> Result<bool, LedgerError> {
        let Self { cursor, by_id } = self;
        if !snapshot.knows(cursor) {
            *cursor = Cursor::default();
            by_id.values_mut().for_each(|followed| *followed = Followed::new(&followed.subject));
        }
        if by_id.is_empty() {
            // Nobody is interested in what there is.
            *cursor = snapshot.end();
        }
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
            .for_each(|followed| followed.observed.exclusion(fact.unit)),
        Fact::Outcome(fact) => by_id.values_mut().for_each(|followed| followed.outcome(fact)),
        // A unit that saw what another experiment led to was not exposed to this one.
        Fact::Exposure(fact) => {
            if let Some(followed) = by_id.get_mut(fact.experiment) {
                followed.observed.exposure(&Happened { unit: fact.unit, at_ms: fact.at_ms, after: fact.after });
            }
        }
    }
}

/// Reads all that a ledger has of one experiment: as of now, from its beginning.
///
/// # Errors
/// What SQLite says.
pub fn read_whole(ledger: &LedgerReader, subject: &AnalysisSubject) -> Result<Observed, LedgerError> {
    ledger.snapshot(|snapshot| {
        let mut group = Group::default();
        group.by_id.insert(subject.spec.id.clone(), Followed::new(subject));
        while !group.read(snapshot)? {}
        let followed = group.by_id.into_values().next();
        Ok(followed.map_or_else(|| Observed::new(Arc::clone(&subject.spec)), |followed| followed.observed))
    })
}

/// An experiment as it can be seen at the moment.
pub enum Seen<T> {
    /// Everything in the ledger is known of it.
    Whole(T),
    /// Its units are still being read.
    Reading,
    /// It is not followed: it has not begun, or has ended.
    Unknown,
}

struct Following {
    /// The first follows the ledger's end; the others have to catch up with it.
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

    /// Follows these subjects from now on, and no others. This has to come before the deployment in
    /// which they take units: `has_just_begun` says of which ones no decision can be in the ledger
    /// yet, and those need not be searched for.
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
                // What was being read for an edit that is taken back is of no use.
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

    /// Reads what is new, and some of what has to be read from the beginning. After an error what
    /// was read stays read, and the next look goes on there.
    ///
    /// # Errors
    /// What SQLite says, or that the ledger grows faster than it is read.
    pub fn read(&self) -> Result<(), LedgerError> {
        for _ in 0..READS_BEHIND {
            if self.read_some(1)? {
                break;
            }
        }
        for _ in 0..MOST_READS {
            // Between two reads others get at the lock.
            if self.read_some(0)? {
                return Ok(());
            }
        }
        Err(LedgerError::Database("the ledger grows faster than it is read".to_owned()))
    }

    /// Reads on in every group from the `from`th on, in one snapshot. Says whether all were read
    /// to its end.
    fn read_some(&self, from: usize) -> Result<bool, LedgerError> {
        let mut following = self.following.lock();
        if following.groups.len() <= from {
            return Ok(true);
        }
        self.ledger.snapshot(|snapshot| {
            let mut is_whole = true;
            for group in following.groups.iter_mut().skip(from).take(if from == 0 { 1 } else { usize::MAX }) {
                is_whole &= group.read(snapshot)?;
            }
            if from == 0 && is_whole {
                // The others are near, or will be.
                for group in following.groups.iter_mut().skip(1) {
                    group.read(snapshot)?;
                }
                following.merge();
            }
            Ok(is_whole)
        })
    }

    /// Calls `look` with every experiment whose units are known up to the ledger's end, and the
    /// subject that is in force now: its spec may have been edited since, and still be read by.
    pub fn each<T>(&self, mut look: impl FnMut(&mut Followed, &AnalysisSubject) -> Option<T>) -> Vec<T> {
        let mut following = self.following.lock();
        let Following { groups, in_force, .. } = &mut *following;
        let followed = groups.first_mut().into_iter().flat_map(|group| group.by_id.iter_mut());
        followed.filter_map(|(id, followed)| look(followed, in_force.get(id)?)).collect()
    }

    /// Reads what is new, and calls `look` with one experiment as it is in force now.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn with<T>(&self, id: &str, look: impl FnOnce(&mut Followed) -> T) -> Result<Seen<T>, LedgerError> {
        for _ in 0..MOST_READS {
            self.read_some(1)?;
            if !self.read_some(0)? {
                continue;
            }
            let mut following = self.following.lock();
            if following.is_behind(id) {
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
