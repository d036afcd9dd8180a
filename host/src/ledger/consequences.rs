//! What came of one decision: whether its result was seen, and the outcomes about it and its entities.

use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::cells::{fault, finite, shown, unsigned};
use super::{LedgerError, LedgerReader};

/// Outcomes that are listed; of more, the first.
const MOST_LISTED: u32 = 200;

/// What came of a decision.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Consequences {
    /// When its result was seen, in milliseconds since the Unix epoch; none if nobody said so.
    pub exposed_ms: Option<u64>,
    /// What was posted about it, and about its entities since it was made, oldest first.
    pub outcomes: Vec<Consequence>,
    /// More was posted than is listed.
    pub is_cut: bool,
}

/// An outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Consequence {
    /// The sender's id for it.
    pub id: String,
    /// What happened.
    pub name: String,
    /// How much; none where its row was altered.
    pub value: Option<f64>,
    /// When it happened, in milliseconds since the Unix epoch; none where its row was altered.
    pub at_ms: Option<u64>,
    /// The kind of entity that it is about; none where it is about the decision itself.
    pub entity: Option<String>,
    /// The outcome that it takes back.
    pub reverses: Option<String>,
    /// Whose credential posted it.
    pub identity: Option<String>,
    /// What is wrong with its row.
    pub error: Option<String>,
}

impl Consequence {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (value, at_ms) = (finite(row, 2), unsigned(row, 3));
        let error = value.as_ref().err().or(at_ms.as_ref().err()).and_then(fault);
        let (value, at_ms) = (value.ok(), at_ms.ok());
        let (id, name) = (shown(row, 0)?, shown(row, 1)?);
        Ok(Self { id, name, value, at_ms, entity: row.get(4)?, reverses: row.get(5)?, identity: row.get(6)?, error })
    }
}

impl LedgerReader {
    /// What came of a decision about these entities, by kind, that was made at `made_ms`.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn consequences<'e>(
        &self,
        decision_id: &str,
        entities: impl Iterator<Item = (&'e str, &'e str)>,
        made_ms: u64,
    ) -> Result<Consequences, LedgerError> {
        let db = &self.connection;
        let exposed = db
            .prepare_cached("SELECT at_ms FROM exposures WHERE decision_id = ?1")?
            .query_row([decision_id], |row| unsigned(row, 0))
            .optional()?;
        let mut found = Consequences { exposed_ms: exposed, ..Consequences::default() };
        let columns = "id, name, value, at_ms";
        let of_decision = format!(
            "SELECT {columns}, NULL, reverses, identity FROM outcomes WHERE decision_id = ?1 ORDER BY at_ms LIMIT {}",
            MOST_LISTED + 1
        );
        let mut statement = db.prepare_cached(&of_decision)?;
        for outcome in statement.query_map([decision_id], Consequence::read)? {
            found.outcomes.push(outcome?);
        }
        let of_entity = format!(
            "SELECT {columns}, entity_kind, reverses, identity FROM outcomes
             WHERE entity_kind = ?1 AND entity = ?2 AND at_ms >= ?3 ORDER BY at_ms LIMIT {}",
            MOST_LISTED + 1
        );
        let mut statement = db.prepare_cached(&of_entity)?;
        for (kind, id) in entities {
            for outcome in statement.query_map(params![kind, id, made_ms as i64], Consequence::read)? {
                found.outcomes.push(outcome?);
            }
        }
        found.outcomes.sort_by_key(|outcome| outcome.at_ms);
        found.is_cut = found.outcomes.len() > MOST_LISTED as usize;
        found.outcomes.truncate(MOST_LISTED as usize);
        Ok(found)
    }
}
