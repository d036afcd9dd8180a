//! The units that an experiment affected, for remediation.

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::LedgerError;
use super::cells::{fault, finite, shown, unsigned};
use super::consequences::{TAKEN_BACK, TakenBack};
use super::schema::OF_UNIT;

/// Decisions and outcomes of one unit that are listed; of more, the newest.
const MOST_LISTED: u32 = 1000;

/// A unit that an arm affected.
#[derive(Debug, Clone, Serialize)]
pub struct AffectedUnit {
    /// Its id.
    pub unit: String,
    /// The arm.
    pub arm: String,
    /// Its newest decisions in the experiment, oldest first.
    pub decisions: Vec<String>,
    /// All of its decisions in the experiment.
    pub decision_count: u64,
    /// What was posted about it, or about one of its decisions, since its first one: the newest.
    pub outcomes: Vec<AffectedOutcome>,
    /// All that was posted so, and was not taken back.
    pub outcome_count: u64,
}

/// An outcome of such a unit.
#[derive(Debug, Clone, Serialize)]
pub struct AffectedOutcome {
    /// What happened.
    pub name: String,
    /// How much; null where its row was altered.
    pub value: Option<f64>,
    /// When, in milliseconds since the Unix epoch; null where its row was altered.
    pub at_ms: Option<u64>,
    /// What took it back; null where it stands.
    pub taken_back: Option<TakenBack>,
    /// What is wrong with its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl AffectedOutcome {
    /// From a row of name, value, time, and the reversal. What was altered hides none of the others.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (value, at_ms) = (finite(row, 1), unsigned(row, 2));
        let error = value.as_ref().err().or(at_ms.as_ref().err()).and_then(fault);
        let (name, taken_back) = (shown(row, 0)?, TakenBack::read(row, 3)?);
        Ok(Self { name, value: value.ok(), at_ms: at_ms.ok(), taken_back, error })
    }
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
    // Window functions see each unit's decisions from the newest one on.
    let mut statement = db.prepare_cached(
        "SELECT unit, arm, group_concat(decision_id) FILTER (WHERE place <= ?5), count(*), min(time_ms) FROM
           (SELECT unit, arm, decision_id, time_ms,
                   row_number() OVER (PARTITION BY unit, arm ORDER BY decision_id DESC) AS place
            FROM decisions
            WHERE experiment = ?1 AND (?2 IS NULL OR arm = ?2) AND unit IN
              (SELECT DISTINCT unit FROM decisions
               WHERE experiment = ?1 AND (?2 IS NULL OR arm = ?2) AND unit > ?3 ORDER BY unit LIMIT ?4))
         GROUP BY unit, arm ORDER BY unit, arm",
    )?;
    let rows = statement.query_map(params![experiment, arm, after, limit, MOST_LISTED], |row| {
        let ids = shown(row, 2)?;
        let mut decisions: Vec<String> = ids.split(',').map(str::to_owned).collect();
        // An id begins with its time.
        decisions.sort_unstable();
        let unit = AffectedUnit {
            unit: shown(row, 0)?,
            arm: shown(row, 1)?,
            decisions,
            decision_count: row.get::<_, i64>(3)? as u64,
            outcomes: Vec::new(),
            outcome_count: 0,
        };
        Ok((unit, row.get(4).unwrap_or_default()))
    })?;
    let (mut all, mut bytes) = (Vec::<AffectedUnit>::new(), 0);
    for row in rows {
        let (mut unit, since_ms) = row?;
        // Never within a unit: the next page starts after a unit.
        if bytes >= most_bytes && all.last().is_some_and(|last| last.unit != unit.unit) {
            return Ok((all, true));
        }
        add_outcomes(db, (kind, experiment), &mut unit, since_ms)?;
        // An outcome's number and time take some 50 bytes beside its name, an id takes 36.
        bytes += unit.decisions.len() * 40 + unit.outcomes.iter().map(|outcome| outcome.name.len() + 80).sum::<usize>();
        all.push(unit);
    }
    let different = all.chunk_by(|one, other| one.unit == other.unit).count();
    Ok((all, different == limit as usize))
}

fn add_outcomes(
    db: &Connection,
    (kind, experiment): (&str, &str),
    unit: &mut AffectedUnit,
    since_ms: i64,
) -> Result<(), LedgerError> {
    // By the ids that are listed, where those are all of them; else its decisions are searched for.
    let is_listed = unit.decisions.len() as u64 == unit.decision_count;
    let by_decision = match is_listed {
        true => "json_each(?4) d JOIN outcomes o ON o.decision_id = d.value".to_owned(),
        false => format!(
            "(SELECT decision_id FROM {OF_UNIT}2 WHERE experiment = ?5 AND arm = ?6) d
             JOIN outcomes o ON o.decision_id = d.decision_id"
        ),
    };
    let sql = format!(
        "SELECT o.name, o.value, o.at_ms, r.id, r.at_ms, sum(r.id IS NULL) OVER () FROM
           (SELECT id, name, value, at_ms FROM outcomes WHERE entity_kind = ?1 AND entity = ?2 AND at_ms >= ?3
            UNION ALL SELECT o.id, o.name, o.value, o.at_ms FROM {by_decision}) o {TAKEN_BACK}
         ORDER BY o.at_ms DESC LIMIT {MOST_LISTED}"
    );
    let decisions =
        if is_listed { serde_json::Value::from(unit.decisions.clone()).to_string() } else { "[]".to_owned() };
    let mut count = 0_i64;
    let mut statement = db.prepare_cached(&sql)?;
    let id = unit.unit.clone();
    let named: [(&str, &dyn rusqlite::ToSql); 6] =
        [("?1", &kind), ("?2", &id), ("?3", &since_ms), ("?4", &decisions), ("?5", &experiment), ("?6", &unit.arm)];
    // Each of the two forms has its own parameters.
    for (name, value) in named {
        if let Some(at) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(at, value)?;
        }
    }
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        count = row.get(5)?;
        unit.outcomes.push(AffectedOutcome::read(row)?);
    }
    unit.outcomes.reverse();
    unit.outcome_count = count as u64;
    Ok(())
}
