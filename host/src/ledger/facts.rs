//! What an analysis reads of decisions, outcomes and exposures: no record is unpacked for it.

use rusqlite::Connection;

use super::{Ledger, LedgerError, LedgerReader};

/// A decision inside an experiment.
#[derive(Debug, Clone, Copy)]
pub struct DecisionFact<'r> {
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
    /// What came of the arm's attempt.
    pub outcome: &'r str,
    /// The action.
    pub action: &'r str,
    /// Microseconds that it took.
    pub took_us: u64,
    /// Its arm was chosen by hand.
    pub forced: bool,
    /// The batch that its arm was drawn in.
    pub batch: Option<u32>,
    /// What analysis looks at of the unit, as JSON.
    pub attributes: Option<&'r str>,
}

/// An outcome, or an exposure, and whom it is about.
#[derive(Debug, Clone, Copy)]
pub struct OutcomeFact<'r> {
    /// Its name; none for an exposure.
    pub name: Option<&'r str>,
    /// How much.
    pub value: f64,
    /// When it happened.
    pub at_ms: u64,
    /// The kind of entity; none where it is about a decision, whose unit this is.
    pub kind: Option<&'r str>,
    /// The entity's or the unit's id.
    pub unit: &'r str,
    /// It was told of before, and is taken back.
    pub is_reversed: bool,
    /// The experiment of the decision that an exposure is of; none for an outcome.
    pub experiment: Option<&'r str>,
}

/// The newest row's place: what comes meanwhile is for the next look. Where all rows have
/// expired, places begin anew, and it is before one that was known.
fn newest(db: &Connection, table: &str) -> Result<i64, LedgerError> {
    let sql = format!("SELECT coalesce(max(rowid), 0) FROM {table}");
    Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
}

fn decisions(db: &Connection, after: i64, mut each: impl FnMut(DecisionFact<'_>)) -> Result<i64, LedgerError> {
    let newest = newest(db, "decisions")?;
    let mut statement = db.prepare_cached(
        "SELECT time_ms, experiment, arm, unit, served_by, outcome, action, took_us, forced,
                batch, attributes FROM decisions
         WHERE rowid > ?1 AND rowid <= ?2 AND experiment IS NOT NULL AND unit IS NOT NULL ORDER BY rowid",
    )?;
    let mut rows = statement.query([after, newest])?;
    while let Some(row) = rows.next()? {
        let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
        each(DecisionFact {
            time_ms: row.get::<_, i64>(0)? as u64,
            experiment: text(1)?,
            arm: text(2)?,
            unit: text(3)?,
            served_by: text(4)?,
            outcome: row.get_ref(5)?.as_str_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default(),
            action: text(6)?,
            took_us: row.get::<_, i64>(7)? as u64,
            forced: row.get(8)?,
            batch: row.get(9)?,
            attributes: row.get_ref(10)?.as_str_or_null().map_err(rusqlite::Error::from)?,
        });
    }
    Ok(newest)
}

fn outcomes(db: &Connection, after: i64, mut each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
    let newest = newest(db, "outcomes")?;
    let mut statement = db.prepare_cached(
        // What was taken back is left out, whichever came first; what was told of before the
        // reversal came is told of once more, as taken back.
        "SELECT o.name, o.value, o.at_ms, o.entity_kind, coalesce(o.entity, d.unit), 0 FROM outcomes o
         LEFT JOIN decisions d ON d.decision_id = o.decision_id
         WHERE o.rowid > ?1 AND o.rowid <= ?2 AND coalesce(o.entity, d.unit) IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM outcomes r WHERE r.reverses = o.id AND r.rowid <= ?2)
         UNION ALL
         SELECT o.name, o.value, o.at_ms, o.entity_kind, coalesce(o.entity, d.unit), 1 FROM outcomes r
         JOIN outcomes o ON o.id = r.reverses LEFT JOIN decisions d ON d.decision_id = o.decision_id
         WHERE r.reverses IS NOT NULL AND r.rowid > ?1 AND r.rowid <= ?2 AND o.rowid <= ?1
           AND coalesce(o.entity, d.unit) IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM outcomes s WHERE s.reverses = o.id AND s.rowid < r.rowid)",
    )?;
    let mut rows = statement.query([after, newest])?;
    while let Some(row) = rows.next()? {
        each(OutcomeFact {
            name: Some(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?),
            value: row.get(1)?,
            at_ms: row.get::<_, i64>(2)? as u64,
            kind: row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?,
            unit: row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?,
            is_reversed: row.get(5)?,
            experiment: None,
        });
    }
    Ok(newest)
}

fn exposures(db: &Connection, after: i64, mut each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
    let newest = newest(db, "exposures")?;
    let mut statement = db.prepare_cached(
        "SELECT e.at_ms, d.unit, d.experiment FROM exposures e JOIN decisions d ON d.decision_id = e.decision_id
         WHERE e.rowid > ?1 AND e.rowid <= ?2 AND d.unit IS NOT NULL AND d.experiment IS NOT NULL ORDER BY e.rowid",
    )?;
    let mut rows = statement.query([after, newest])?;
    while let Some(row) = rows.next()? {
        each(OutcomeFact {
            name: None,
            value: 1.0,
            at_ms: row.get::<_, i64>(0)? as u64,
            kind: None,
            unit: row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
            is_reversed: false,
            experiment: Some(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?),
        });
    }
    Ok(newest)
}

impl Ledger {
    /// Calls `each` with every decision inside an experiment that came after a place; the place of the newest.
    /// Where that is before the one given, places began anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision_facts(&self, after: i64, each: impl FnMut(DecisionFact<'_>)) -> Result<i64, LedgerError> {
        self.with_reader(|db| decisions(db, after, each))
    }

    /// Calls `each` with every outcome about a unit that came after a place; the place of the newest.
    /// Where that is before the one given, places began anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn outcome_facts(&self, after: i64, each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
        self.with_reader(|db| outcomes(db, after, each))
    }

    /// Calls `each` with every exposure of a unit that came after a place; the place of the newest.
    /// Where that is before the one given, places began anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn exposure_facts(&self, after: i64, each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
        self.with_reader(|db| exposures(db, after, each))
    }
}

/// A decision about a unit at some decision point, inside an experiment or not.
#[derive(Debug, Clone, Copy)]
pub struct UnitFact<'r> {
    /// When it was made.
    pub time_ms: u64,
    /// The unit.
    pub unit: &'r str,
    /// What came of the first attempt.
    pub outcome: &'r str,
    /// The action.
    pub action: &'r str,
}

impl LedgerReader {
    /// Calls `each` with every decision about a unit at a point, since a time, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unit_facts(
        &self,
        point: &str,
        since_ms: u64,
        mut each: impl FnMut(UnitFact<'_>),
    ) -> Result<(), LedgerError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time_ms, unit, outcome, action FROM decisions
             WHERE decision_id >= ?1 AND point = ?2 AND unit IS NOT NULL AND NOT forced ORDER BY decision_id",
        )?;
        let mut rows = statement.query(rusqlite::params![super::read::first_id(since_ms), point])?;
        while let Some(row) = rows.next()? {
            let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
            each(UnitFact {
                time_ms: row.get::<_, i64>(0)? as u64,
                unit: text(1)?,
                outcome: row.get_ref(2)?.as_str_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default(),
                action: text(3)?,
            });
        }
        Ok(())
    }

    /// Calls `each` with every decision inside an experiment.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision_facts(&self, each: impl FnMut(DecisionFact<'_>)) -> Result<i64, LedgerError> {
        decisions(&self.connection, 0, each)
    }

    /// Calls `each` with every outcome about a unit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn outcome_facts(&self, each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
        outcomes(&self.connection, 0, each)
    }

    /// Calls `each` with every exposure of a unit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn exposure_facts(&self, each: impl FnMut(OutcomeFact<'_>)) -> Result<i64, LedgerError> {
        exposures(&self.connection, 0, each)
    }
}
