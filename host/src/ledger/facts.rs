//! What an analysis reads of decisions, outcomes and exposures: no record is unpacked for it.

use rusqlite::Connection;

use super::{Ledger, LedgerError, LedgerReader};

/// A decision inside an experiment.
#[derive(Debug, Clone, Copy)]
pub struct DecisionFact<'r> {
    /// Its place in the ledger; later ones have larger ones.
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
    /// What came of the arm's attempt.
    pub outcome: &'r str,
    /// The action.
    pub action: &'r str,
    /// Microseconds that it took.
    pub took_us: u64,
    /// Its arm was chosen by hand.
    pub forced: bool,
}

/// An outcome, or an exposure, and whom it is about.
#[derive(Debug, Clone, Copy)]
pub struct OutcomeFact<'r> {
    /// Its place in the ledger; later ones have larger ones.
    pub place: i64,
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
}

fn decisions(db: &Connection, after: i64, mut each: impl FnMut(DecisionFact<'_>)) -> Result<(), LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT rowid, time_ms, experiment, arm, unit, served_by, outcome, action, took_us, forced FROM decisions
         WHERE rowid > ?1 AND experiment IS NOT NULL AND unit IS NOT NULL ORDER BY rowid",
    )?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        let text = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
        each(DecisionFact {
            place: row.get(0)?,
            time_ms: row.get::<_, i64>(1)? as u64,
            experiment: text(2)?,
            arm: text(3)?,
            unit: text(4)?,
            served_by: text(5)?,
            outcome: row.get_ref(6)?.as_str_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default(),
            action: text(7)?,
            took_us: row.get::<_, i64>(8)? as u64,
            forced: row.get(9)?,
        });
    }
    Ok(())
}

fn outcomes(db: &Connection, after: i64, mut each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT o.rowid, o.name, o.value, o.at_ms, o.entity_kind, coalesce(o.entity, d.unit) FROM outcomes o
         LEFT JOIN decisions d ON d.decision_id = o.decision_id
         WHERE o.rowid > ?1 AND coalesce(o.entity, d.unit) IS NOT NULL ORDER BY o.rowid",
    )?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        each(OutcomeFact {
            place: row.get(0)?,
            name: Some(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?),
            value: row.get(2)?,
            at_ms: row.get::<_, i64>(3)? as u64,
            kind: row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?,
            unit: row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?,
        });
    }
    Ok(())
}

fn exposures(db: &Connection, mut each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT e.at_ms, d.unit FROM exposures e JOIN decisions d ON d.decision_id = e.decision_id
         WHERE d.unit IS NOT NULL",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(OutcomeFact {
            place: 0,
            name: None,
            value: 1.0,
            at_ms: row.get::<_, i64>(0)? as u64,
            kind: None,
            unit: row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
        });
    }
    Ok(())
}

impl Ledger {
    /// Calls `each` with every decision inside an experiment that came after a place.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision_facts(&self, after: i64, each: impl FnMut(DecisionFact<'_>)) -> Result<(), LedgerError> {
        self.with_reader(|db| decisions(db, after, each))
    }

    /// Calls `each` with every outcome about a unit that came after a place.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn outcome_facts(&self, after: i64, each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
        self.with_reader(|db| outcomes(db, after, each))
    }

    /// Calls `each` with every exposure of a unit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn exposure_facts(&self, each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
        self.with_reader(|db| exposures(db, each))
    }
}

impl LedgerReader {
    /// Calls `each` with every decision inside an experiment.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision_facts(&self, each: impl FnMut(DecisionFact<'_>)) -> Result<(), LedgerError> {
        decisions(&self.connection, 0, each)
    }

    /// Calls `each` with every outcome about a unit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn outcome_facts(&self, each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
        outcomes(&self.connection, 0, each)
    }

    /// Calls `each` with every exposure of a unit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn exposure_facts(&self, each: impl FnMut(OutcomeFact<'_>)) -> Result<(), LedgerError> {
        exposures(&self.connection, each)
    }
}
