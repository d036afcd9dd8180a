//! What came of one decision: whether its result was seen, and the outcomes about it and its entities.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::cells::{fault, finite, shown, unsigned};
use super::{LedgerError, LedgerReader};

/// Outcomes that are listed; of more, the first.
const MOST_LISTED: u32 = 200;

/// SQL that finds the reversal by which an outcome `o` is taken back, as `r`: the first one, as facts have it.
pub(super) const TAKEN_BACK: &str =
    "LEFT JOIN outcomes r ON r.rowid = (SELECT min(rowid) FROM outcomes WHERE reverses = o.id)";

/// What came of a decision.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Consequences {
    /// When its result was seen, in milliseconds since the Unix epoch; none if nobody said so.
    pub exposed_ms: Option<u64>,
    /// What was posted about it, and about its entities since it was made, and what took that back, oldest first.
    pub outcomes: Vec<Consequence>,
    /// More was posted than is listed.
    pub is_cut: bool,
}

/// The reversal by which an outcome was taken back.
#[derive(Debug, Clone, Serialize)]
pub struct TakenBack {
    /// The sender's id for it.
    pub by: String,
    /// When, in milliseconds since the Unix epoch; none where its row was altered.
    pub at_ms: Option<u64>,
}

impl TakenBack {
    /// From two columns of a row, which are null where the outcome stands.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Self>> {
        let is_taken_back = row.get_ref(at)? != ValueRef::Null;
        is_taken_back.then(|| Ok(Self { by: shown(row, at)?, at_ms: unsigned(row, at + 1).ok() })).transpose()
    }
}

/// An outcome, or the reversal of one.
#[derive(Debug, Clone, Serialize)]
pub struct Consequence {
    /// The sender's id for it.
    pub id: String,
    /// What happened; of a reversal, what is taken back.
    pub name: String,
    /// How much; none of a reversal, and where its row was altered.
    pub value: Option<f64>,
    /// When it happened, in milliseconds since the Unix epoch; none where its row was altered.
    pub at_ms: Option<u64>,
    /// The kind of entity that it is about; none where it is about the decision itself.
    pub entity: Option<String>,
    /// The outcome that it takes back.
    pub reverses: Option<String>,
    /// What took it back; none where it stands.
    pub taken_back: Option<TakenBack>,
    /// Whose credential posted it.
    pub identity: Option<String>,
    /// What is wrong with its row.
    pub error: Option<String>,
}

impl Consequence {
    /// An outcome, and the reversal that takes it back.
    fn read(row: &Row<'_>) -> rusqlite::Result<[Option<Self>; 2]> {
        let (value, at_ms) = (finite(row, 2), unsigned(row, 3));
        let error = value.as_ref().err().or(at_ms.as_ref().err()).and_then(fault);
        let (value, at_ms) = (value.ok(), at_ms.ok());
        let (id, name) = (shown(row, 0)?, shown(row, 1)?);
        let (entity, taken_back): (Option<String>, _) = (row.get(4)?, TakenBack::read(row, 6)?);
        let by = row.get(8)?;
        let reversal = taken_back.clone().map(|TakenBack { by: of, at_ms }| Self {
            id: of,
            name: name.clone(),
            value: None,
            at_ms,
            entity: entity.clone(),
            reverses: Some(id.clone()),
            taken_back: None,
            identity: by,
            error: None,
        });
        let identity = row.get(5)?;
        let outcome = Self { id, name, value, at_ms, entity, reverses: None, taken_back, identity, error };
        Ok([Some(outcome), reversal])
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
        let (columns, and_reversal) = ("o.id, o.name, o.value, o.at_ms", "o.identity, r.id, r.at_ms, r.identity");
        let of_decision = format!(
            "SELECT {columns}, NULL, {and_reversal} FROM outcomes o {TAKEN_BACK}
             WHERE o.decision_id = ?1 ORDER BY o.at_ms LIMIT {}",
            MOST_LISTED + 1
        );
        let mut statement = db.prepare_cached(&of_decision)?;
        for outcome in statement.query_map([decision_id], Consequence::read)? {
            found.outcomes.extend(outcome?.into_iter().flatten());
        }
        let of_entity = format!(
            "SELECT {columns}, o.entity_kind, {and_reversal} FROM outcomes o {TAKEN_BACK}
             WHERE o.entity_kind = ?1 AND o.entity = ?2 AND o.at_ms >= ?3 ORDER BY o.at_ms LIMIT {}",
            MOST_LISTED + 1
        );
        let mut statement = db.prepare_cached(&of_entity)?;
        for (kind, id) in entities {
            for outcome in statement.query_map(params![kind, id, made_ms as i64], Consequence::read)? {
                found.outcomes.extend(outcome?.into_iter().flatten());
            }
        }
        found.outcomes.sort_by_key(|outcome| outcome.at_ms);
        found.is_cut = found.outcomes.len() > MOST_LISTED as usize;
        found.outcomes.truncate(MOST_LISTED as usize);
        Ok(found)
    }
}
