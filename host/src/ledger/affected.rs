//! The units that an experiment affected, for remediation.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::LedgerError;

/// A unit that an arm affected.
#[derive(Debug, Clone, Serialize)]
pub struct AffectedUnit {
    /// Its id.
    pub unit: String,
    /// The arm.
    pub arm: String,
    /// Its decisions in the experiment, oldest first.
    pub decisions: Vec<String>,
    /// Outcomes posted about it, or about one of these decisions, since its first one.
    pub outcomes: Vec<AffectedOutcome>,
}

/// An outcome of such a unit.
#[derive(Debug, Clone, Serialize)]
pub struct AffectedOutcome {
    /// What happened.
    pub name: String,
    /// How much.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The units after `after`, in the order of ids, with their decisions and outcomes, for a kind of
/// unit, an experiment, and optionally one of its arms. Stops after the unit that reaches
/// `most_bytes`, and says whether more units may follow.
pub(super) fn units(
    db: &Connection,
    (kind, experiment, arm): (&str, &str, Option<&str>),
    after: &str,
    limit: u32,
    most_bytes: usize,
) -> Result<(Vec<AffectedUnit>, bool), LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT unit, arm, group_concat(decision_id), min(time_ms) FROM
           (SELECT unit, arm, decision_id, time_ms FROM decisions
            WHERE experiment = ?1 AND (?2 IS NULL OR arm = ?2) AND unit IN
              (SELECT DISTINCT unit FROM decisions
               WHERE experiment = ?1 AND (?2 IS NULL OR arm = ?2) AND unit > ?3 ORDER BY unit LIMIT ?4)
            ORDER BY decision_id)
         GROUP BY unit, arm ORDER BY unit, arm",
    )?;
    let rows = statement.query_map(params![experiment, arm, after, limit], |row| {
        let ids: String = row.get(2)?;
        let unit = AffectedUnit {
            unit: row.get(0)?,
            arm: row.get(1)?,
            decisions: ids.split(',').map(str::to_owned).collect(),
            outcomes: Vec::new(),
        };
        Ok((unit, row.get::<_, i64>(3)?))
    })?;
    let mut outcomes = db.prepare_cached(
        "SELECT name, value, at_ms FROM outcomes WHERE entity_kind = ?1 AND entity = ?2 AND at_ms >= ?3
         UNION ALL
         SELECT o.name, o.value, o.at_ms FROM json_each(?4) d JOIN outcomes o ON o.decision_id = d.value
         ORDER BY at_ms",
    )?;
    let (mut all, mut bytes) = (Vec::<AffectedUnit>::new(), 0);
    for row in rows {
        let (mut unit, since_ms) = row?;
        // Never within a unit: the next page starts after a unit.
        if bytes >= most_bytes && all.last().is_some_and(|last| last.unit != unit.unit) {
            return Ok((all, true));
        }
        let decisions = serde_json::Value::from(unit.decisions.clone()).to_string();
        let found = outcomes.query_map(params![kind, unit.unit, since_ms, decisions], |row| {
            Ok(AffectedOutcome { name: row.get(0)?, value: row.get(1)?, at_ms: row.get::<_, i64>(2)? as u64 })
        })?;
        unit.outcomes = found.collect::<Result<_, _>>()?;
        // An outcome takes about 50 bytes beside its name.
        bytes += decisions.len() + unit.outcomes.iter().map(|outcome| outcome.name.len() + 80).sum::<usize>();
        all.push(unit);
    }
    let different = all.chunk_by(|one, other| one.unit == other.unit).count();
    Ok((all, different == limit as usize))
}
