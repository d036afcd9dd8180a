//! Facts for analyses: decisions, outcomes and exposures, read from rows without unpacking records.
//!
//! Facts are read from a [`Snapshot`] in commit order, up to a [`Cursor`] that the reader keeps.
//! Each fact depends only on rows before it. So all readers at the same cursor have the same facts,
//! however many steps they took.

use rusqlite::{Connection, Row, Statement, Transaction, params};
use serin_core::analysis::{Feed, NeverPosted};

use super::cells::{finite, optional_text, text, unsigned};
use super::feeds::feed;
use super::feeds_as_of::feed_as_of;
use super::positions::Positions;
use super::{Ledger, LedgerError, LedgerReader, cells};
use crate::mutant::Mutant;

/// A decision inside an experiment.
#[derive(Debug, Clone, Copy)]
pub struct DecisionFact<'r> {
    /// Its position in commit order.
    pub place: i64,
    /// When it was made.
    pub time_ms: u64,
    /// The experiment.
    pub experiment: &'r str,
    /// The arm.
    pub arm: &'r str,
    /// The unit.
    pub unit: &'r str,
    /// Who served.
    pub served_by: &'r str,
    /// The outcome of the arm's attempt.
    pub outcome: &'r str,
    /// The action.
    pub action: &'r str,
    /// Its duration in microseconds.
    pub took_us: u64,
    /// Whether its arm was forced.
    pub forced: bool,
    /// The batch in which its arm was drawn.
    pub batch: Option<u32>,
    /// The attributes of the unit for the analysis, as JSON.
    pub attributes: Option<&'r str>,
}

/// An outcome, or the reversal of one that was reported before.
#[derive(Debug, Clone, Copy)]
pub struct OutcomeFact<'r> {
    /// Its name.
    pub name: &'r str,
    /// Its value.
    pub value: f64,
    /// When it happened.
    pub at_ms: u64,
    /// The kind of entity; of an outcome about a decision, of its unit. None if it is about a decision of before kinds
    /// were kept.
    pub kind: Option<&'r str>,
    /// The entity's or the unit's id.
    pub unit: &'r str,
    /// When the outcome was received; of a reversal, when the outcome that it reverses was.
    pub received_ms: u64,
    /// The position of the newest decision when the outcome was stored.
    pub after: i64,
    /// Whether this is a reversal.
    pub is_reversed: bool,
    /// When it was stored.
    pub stored_ms: u64,
}

/// An exposure to a decision inside an experiment.
#[derive(Debug, Clone, Copy)]
pub struct ExposureFact<'r> {
    /// When it was seen.
    pub at_ms: u64,
    /// The decision's unit.
    pub unit: &'r str,
    /// The decision's experiment.
    pub experiment: &'r str,
    /// When it was received.
    pub received_ms: u64,
    /// The position of the newest decision when it was stored.
    pub after: i64,
}

/// A decision about a unit that `exclude` kept out of everything.
#[derive(Debug, Clone, Copy)]
pub struct ExcludedFact<'r> {
    /// The decision point.
    pub point: &'r str,
    /// The unit.
    pub unit: &'r str,
    /// When it was made.
    pub time_ms: u64,
}

/// A row that was altered from outside so that it cannot be read.
#[derive(Debug, Clone, Copy)]
pub struct UnreadableFact<'r> {
    /// The table.
    pub table: &'static str,
    /// Its position in the table.
    pub place: i64,
    /// The experiment that it belongs to; none if that is unknown.
    pub experiment: Option<&'r str>,
    /// What is wrong with it.
    pub why: &'r str,
}

/// A fact.
#[derive(Debug, Clone, Copy)]
pub enum Fact<'r> {
    /// A decision.
    Decision(DecisionFact<'r>),
    /// A decision that was excluded.
    Excluded(ExcludedFact<'r>),
    /// An outcome.
    Outcome(OutcomeFact<'r>),
    /// An exposure.
    Exposure(ExposureFact<'r>),
    /// A row that cannot be read.
    Unreadable(UnreadableFact<'r>),
}

/// A reading position in a ledger. The default is its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    decisions: i64,
    outcomes: i64,
    exposures: i64,
}

impl Cursor {
    /// Whether no outcome lies between two cursors.
    pub fn has_same_outcomes(&self, other: &Self) -> bool {
        self.outcomes == other.outcomes
    }
}

/// The tables that facts are read from.
#[derive(Clone, Copy)]
enum Kind {
    Decisions,
    Outcomes,
    Exposures,
}

impl Kind {
    fn table(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Outcomes => "outcomes",
            Self::Exposures => "exposures",
        }
    }

    /// Selects rows between two positions, the first excluded.
    fn sql(self) -> &'static str {
        match self {
            Self::Decisions => DECISIONS,
            Self::Outcomes => OUTCOMES,
            Self::Exposures => EXPOSURES,
        }
    }

    fn fact<'r>(self, row: &'r Row<'_>) -> rusqlite::Result<Fact<'r>> {
        match self {
            Self::Decisions => decision_or_excluded(row),
            Self::Outcomes => outcome(row).map(Fact::Outcome),
            Self::Exposures => exposure(row).map(Fact::Exposure),
        }
    }

    /// The experiment of a row that cannot be read whole.
    fn experiment<'r>(self, row: &'r Row<'_>) -> Option<&'r str> {
        match self {
            Self::Decisions => optional_text(row, 2).ok()?,
            Self::Outcomes => None,
            Self::Exposures => optional_text(row, 3).ok()?,
        }
    }
}

/// A snapshot of a ledger.
pub struct Snapshot<'c> {
    db: Transaction<'c>,
    end: Cursor,
}

impl<'c> Snapshot<'c> {
    fn new(db: &'c Connection) -> Result<Self, LedgerError> {
        // The first read fixes the snapshot for all later ones.
        let db = db.unchecked_transaction()?;
        let Positions { decisions, outcomes, exposures } = Positions::of(&db)?;
        let end = Cursor { decisions, outcomes, exposures };
        Ok(Self { db, end })
    }

    /// The cursor at the end.
    pub fn end(&self) -> Cursor {
        self.end
    }

    /// Calls `each` with the facts after `cursor`, from at most `rows` rows, and advances the
    /// cursor with each fact: after an error it is where reading stopped. Says whether everything
    /// was read.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn read(&self, cursor: &mut Cursor, rows: i64, mut each: impl FnMut(Fact<'_>)) -> Result<bool, LedgerError> {
        let mut left = rows;
        // What follows from a decision is read once all decisions are.
        let mut kinds = [Kind::Decisions, Kind::Outcomes, Kind::Exposures];
        if Mutant::OutcomesFirst.is_on() {
            kinds.rotate_left(1);
        }
        for kind in kinds {
            let (place, end) = match kind {
                Kind::Decisions => (&mut cursor.decisions, self.end.decisions),
                Kind::Outcomes => (&mut cursor.outcomes, self.end.outcomes),
                Kind::Exposures => (&mut cursor.exposures, self.end.exposures),
            };
            self.page(kind, place, end, &mut left, &mut each)?;
        }
        Ok(*cursor == self.end)
    }

    /// The feeds of outcomes of these names, about this kind of entity or about a decision; of an experiment
    /// that has ended, as of then.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn feeds<'n>(
        &self,
        kind: &str,
        names: impl IntoIterator<Item = &'n str>,
        ended_ms: Option<u64>,
    ) -> Result<Vec<Feed>, LedgerError> {
        let feed = |name| match ended_ms {
            Some(ended_ms) => feed_as_of(&self.db, kind, name, ended_ms),
            None => feed(&self.db, kind, name),
        };
        Ok(names.into_iter().map(feed).collect::<rusqlite::Result<_>>()?)
    }

    /// Which of `names` were never posted as outcomes of this kind of entity, or of a decision; nor
    /// since `since_ms`, while a name that resembles it was. Says, too, whether all were posted since.
    /// A watermark counts as an outcome.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn never_posted<'n>(
        &self,
        kind: &str,
        since_ms: u64,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<(Vec<NeverPosted>, bool), LedgerError> {
        let sql = "SELECT max(last_ms) FROM (
                     SELECT last_ms FROM outcome_names WHERE kind IN (?1, '') AND name = ?2
                     UNION ALL SELECT until_ms FROM watermarks WHERE name = ?2)";
        let mut last = self.db.prepare_cached(sql)?;
        let (mut never, mut all_posted) = (Vec::new(), true);
        for name in names {
            let last_ms = last.query_row([kind, name], |row| row.get::<_, Option<i64>>(0))?;
            if last_ms.is_some_and(|ms| ms >= since_ms as i64)
                || never.iter().any(|never: &NeverPosted| *never.name == *name)
            {
                continue;
            }
            all_posted = false;
            // Names of another length do not resemble it. One that was posted before is compared with
            // those that are posted now.
            let sql = format!(
                "SELECT name FROM outcome_names
                 WHERE kind IN (?1, '') AND abs(length(name) - length(?2)) <= 2 AND last_ms >= ?3 LIMIT {COMPARED_NAMES}"
            );
            let mut posted = self.db.prepare_cached(&sql)?;
            let since = if last_ms.is_some() { since_ms as i64 } else { 0 };
            let posted = posted.query_map(params![kind, name, since], |row| row.get(0))?;
            let posted = posted.collect::<Result<Vec<String>, _>>()?;
            let similar = serin_core::most_similar(name, posted.iter().map(String::as_str));
            if last_ms.is_none() || similar.is_some() {
                let (name, similar) = (name.into(), similar.map(Into::into));
                never.push(NeverPosted { name, similar, was_posted_before: last_ms.is_some() });
            }
        }
        Ok((never, all_posted))
    }

    /// Reads the next rows of one table, up to the remaining number.
    fn page(
        &self,
        kind: Kind,
        place: &mut i64,
        end: i64,
        left: &mut i64,
        mut each: impl FnMut(Fact<'_>),
    ) -> Result<(), LedgerError> {
        let last = end.min(place.saturating_add(*left));
        if last <= *place {
            return Ok(());
        }
        let mut statement = self.db.prepare_cached(kind.sql())?;
        let statement: &mut Statement<'_> = &mut statement;
        let first = *place;
        let mut rows = statement.query([first, last])?;
        while let Some(row) = rows.next()? {
            let at = row.get(0)?;
            match kind.fact(row) {
                Ok(fact) => each(fact),
                Err(error) => {
                    // One row hides none of the others.
                    let why = &*cells::fault(&error).ok_or(error)?;
                    let experiment = kind.experiment(row);
                    each(Fact::Unreadable(UnreadableFact { table: kind.table(), place: at, experiment, why }));
                }
            }
            *place = at;
        }
        *place = last;
        *left -= last - first;
        Ok(())
    }
}

/// Posted names that one which was never posted is compared with.
const COMPARED_NAMES: usize = 1000;

const DECISIONS: &str = "
SELECT seq, time_ms, experiment, arm, unit, served_by, outcome, action, took_us, forced, batch, attributes, point
FROM decisions
WHERE seq > ?1 AND seq <= ?2 AND unit IS NOT NULL AND (experiment IS NOT NULL OR served_by = 'constraint')
ORDER BY seq";

/// A row is an outcome or a reversal. If the outcome was reported before its reversal arrived, the
/// reversal is emitted as a separate fact. An outcome that was reversed before it arrived is never
/// emitted, and neither is a second reversal. The decision that a row names must be known when it
/// is stored: its unit is stored with the row, for the decision may expire before it.
const OUTCOMES: &str = "
SELECT x.rowid, t.name, t.value, t.at_ms, coalesce(t.entity_kind, t.unit_kind), coalesce(t.entity, t.unit), t.after_seq,
       x.reverses IS NOT NULL, x.received_ms, t.received_ms
FROM outcomes x
JOIN outcomes t ON t.id = coalesce(x.reverses, x.id)
WHERE x.rowid > ?1 AND x.rowid <= ?2
  AND (x.reverses IS NULL OR t.rowid < x.rowid)
  AND coalesce(t.entity, t.unit) IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outcomes s WHERE s.reverses = t.id AND s.rowid < x.rowid)
ORDER BY x.rowid";

const EXPOSURES: &str = "
SELECT e.rowid, e.at_ms, d.unit, d.experiment, e.after_seq, e.received_ms
FROM exposures e JOIN decisions d ON d.decision_id = e.decision_id AND d.seq <= e.after_seq
WHERE e.rowid > ?1 AND e.rowid <= ?2 AND d.unit IS NOT NULL AND d.experiment IS NOT NULL ORDER BY e.rowid";

fn decision_or_excluded<'r>(row: &'r Row<'_>) -> rusqlite::Result<Fact<'r>> {
    Ok(match optional_text(row, 2)? {
        Some(_) => Fact::Decision(decision(row)?),
        None => Fact::Excluded(ExcludedFact { point: text(row, 12)?, unit: text(row, 4)?, time_ms: unsigned(row, 1)? }),
    })
}

fn decision<'r>(row: &'r Row<'_>) -> rusqlite::Result<DecisionFact<'r>> {
    Ok(DecisionFact {
        place: row.get(0)?,
        time_ms: unsigned(row, 1)?,
        experiment: text(row, 2)?,
        arm: text(row, 3)?,
        unit: text(row, 4)?,
        served_by: text(row, 5)?,
        outcome: optional_text(row, 6)?.unwrap_or_default(),
        action: text(row, 7)?,
        took_us: unsigned(row, 8)?,
        forced: row.get(9)?,
        batch: row.get(10)?,
        attributes: optional_text(row, 11)?,
    })
}

fn outcome<'r>(row: &'r Row<'_>) -> rusqlite::Result<OutcomeFact<'r>> {
    Ok(OutcomeFact {
        name: text(row, 1)?,
        value: finite(row, 2)?,
        at_ms: unsigned(row, 3)?,
        kind: optional_text(row, 4)?,
        unit: text(row, 5)?,
        after: row.get(6)?,
        is_reversed: row.get(7)?,
        stored_ms: unsigned(row, 8)?,
        received_ms: unsigned(row, 9)?,
    })
}

fn exposure<'r>(row: &'r Row<'_>) -> rusqlite::Result<ExposureFact<'r>> {
    Ok(ExposureFact {
        at_ms: unsigned(row, 1)?,
        unit: text(row, 2)?,
        experiment: text(row, 3)?,
        after: row.get(4)?,
        received_ms: unsigned(row, 5)?,
    })
}

impl Ledger {
    /// Calls `read` with a snapshot of the ledger.
    ///
    /// # Errors
    /// The error of SQLite or of `read`.
    pub fn snapshot<T>(&self, read: impl FnOnce(&Snapshot<'_>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.with_reader(|db| read(&Snapshot::new(db)?))
    }
}

impl LedgerReader {
    /// Calls `read` with a snapshot of the ledger.
    ///
    /// # Errors
    /// The error of SQLite or of `read`.
    pub fn snapshot<T>(&self, read: impl FnOnce(&Snapshot<'_>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        read(&Snapshot::new(&self.connection)?)
    }
}

/// A decision about a unit at some decision point, inside an experiment or not.
#[derive(Debug, Clone, Copy)]
pub struct UnitFact<'r> {
    /// When it was made.
    pub time_ms: u64,
    /// The unit.
    pub unit: &'r str,
    /// The outcome of the first attempt.
    pub outcome: &'r str,
    /// The action.
    pub action: &'r str,
}

impl LedgerReader {
    /// Calls `each` with every decision about a unit at a point since a time, oldest first. Returns
    /// how many rows were left out because they cannot be read.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn unit_facts(
        &self,
        point: &str,
        since_ms: u64,
        mut each: impl FnMut(UnitFact<'_>),
    ) -> Result<u64, LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, unit, outcome, action FROM decisions
             WHERE decision_id >= ?1 AND point = ?2 AND unit IS NOT NULL AND NOT forced ORDER BY decision_id",
        )?;
        let mut rows = statement.query(rusqlite::params![super::schema::first_id(since_ms), point])?;
        let mut unreadable = 0;
        while let Some(row) = rows.next()? {
            match unit_fact(row) {
                Ok(fact) => each(fact),
                Err(error) => {
                    cells::fault(&error).ok_or(error)?;
                    unreadable += 1;
                }
            }
        }
        Ok(unreadable)
    }
}

fn unit_fact<'r>(row: &'r Row<'_>) -> rusqlite::Result<UnitFact<'r>> {
    Ok(UnitFact {
        time_ms: unsigned(row, 0)?,
        unit: text(row, 1)?,
        outcome: optional_text(row, 2)?.unwrap_or_default(),
        action: text(row, 3)?,
    })
}
