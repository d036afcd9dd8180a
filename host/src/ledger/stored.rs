//! Stored records, and the check that they are unaltered.

use std::sync::Arc;

use rusqlite::{Connection, Row};
use serin_core::experiment;
use serin_core::record::Record;

use super::packed::{Dictionaries, StoredDictionary, Unpacked, unpack};
use super::{DecisionRow, cells};

/// Why a stored record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It has expired; the row is kept for an experiment that needs it.
    #[error("the record has expired; its row is kept for the analysis of an experiment that has not ended")]
    Expired,
    /// It was altered.
    #[error("{0}")]
    Altered(String),
}

/// A stored record.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Id of the decision.
    pub decision_id: String,
    /// The row; or what is wrong with it.
    row: Result<Stored, String>,
}

/// The columns of a row.
#[derive(Debug, Clone)]
struct Stored {
    /// The record, packed.
    packed: Vec<u8>,
    /// The dictionary that it is packed with, if any.
    dictionary: Option<StoredDictionary>,
    /// The digest, as stored.
    digest: String,
    /// The row's other columns.
    beside: Beside,
    /// Whose credential asked for it.
    identity: Option<String>,
}

/// The columns of a decision's row that are derived from its record. Analyses read them, and lists
/// filter by them.
#[derive(Debug, Clone)]
struct Beside {
    time_ms: u64,
    point: String,
    unit: Option<String>,
    /// None also in a row of before it was kept.
    unit_kind: Option<String>,
    experiment: Option<String>,
    arm: Option<String>,
    served_by: String,
    outcome: Option<String>,
    action: String,
    took_us: u64,
    forced: bool,
    batch: Option<u32>,
    attributes: Option<String>,
}

impl From<DecisionRow> for StoredRecord {
    fn from(row: DecisionRow) -> Self {
        let dictionary = row.dictionary.map(|dictionary| StoredDictionary::Words(Arc::clone(&dictionary.words)));
        let (experiment, arm) = row.assignment.unzip();
        let beside = Beside {
            time_ms: row.time_ms,
            point: row.point,
            unit: row.unit,
            unit_kind: row.unit_kind.map(|kind| kind.to_string()),
            experiment,
            arm,
            served_by: row.served_by.to_owned(),
            outcome: row.outcome.map(str::to_owned),
            action: row.action.to_string(),
            took_us: row.took_us,
            forced: row.forced,
            batch: row.batch,
            attributes: row.attributes,
        };
        let identity = row.identity.map(|name| name.to_string());
        let stored = Stored { packed: row.record, dictionary, digest: row.digest, beside, identity };
        Self { decision_id: row.decision_id, row: Ok(stored) }
    }
}

/// The columns of a [`StoredRecord`].
pub(super) const COLUMNS: &str = "decision_id, digest, record, dictionary, time_ms, point, unit, experiment, arm, served_by, \
                                  outcome, action, took_us, forced, batch, attributes, identity, unit_kind";

impl StoredRecord {
    /// From a row of [`COLUMNS`]. A row that was altered so that it cannot be read is a record that
    /// says so.
    pub(super) fn read(dictionaries: &Dictionaries, db: &Connection, row: &Row<'_>) -> rusqlite::Result<Self> {
        let read = Stored::read(dictionaries, db, row).map(Ok);
        let row_read = read.or_else(|error| cells::fault(&error).map(Err).ok_or(error))?;
        Ok(Self { decision_id: cells::shown(row, 0)?, row: row_read })
    }

    /// Says whether the record has expired and only its row is kept.
    pub fn is_expired(&self) -> bool {
        self.row.as_ref().is_ok_and(|row| row.packed.is_empty())
    }

    /// The record, after checking it against its digest and its row.
    ///
    /// # Errors
    /// That it has expired, or was altered.
    pub fn parse(&self) -> Result<Record, RecordError> {
        Ok(self.readable()?.checked(&self.decision_id)?.0)
    }

    /// The record's JSON, after checking it against its digest and its row. A record that was stored
    /// as JSON is given as it was written.
    ///
    /// # Errors
    /// That it has expired, or was altered.
    pub fn json(&self) -> Result<String, RecordError> {
        let (record, stored) = self.readable()?.checked(&self.decision_id)?;
        let text = match stored {
            Unpacked::Json(json) => String::from_utf8(json.into_owned()).map_err(|e| e.to_string()),
            Unpacked::Binary(..) => serde_json::to_string(&record).map_err(|e| e.to_string()),
        };
        text.map_err(RecordError::Altered)
    }

    /// Its decision point; empty where the row cannot be read.
    pub fn point(&self) -> &str {
        self.row.as_ref().map_or("", |row| &row.beside.point)
    }

    /// Whose credential asked for it; none without `[access]`.
    pub fn identity(&self) -> Option<&str> {
        self.row.as_ref().ok()?.identity.as_deref()
    }

    fn readable(&self) -> Result<&Stored, RecordError> {
        self.row.as_ref().map_err(|why| RecordError::Altered(why.clone()))
    }
}

impl Stored {
    fn read(dictionaries: &Dictionaries, db: &Connection, row: &Row<'_>) -> rusqlite::Result<Self> {
        // An id of another type is found by no request.
        cells::text(row, 0)?;
        let dictionary: Option<i64> = row.get(3)?;
        Ok(Self {
            digest: row.get(1)?,
            packed: row.get(2)?,
            dictionary: dictionary.map(|id| dictionaries.get(db, id)).transpose()?,
            beside: Beside {
                time_ms: cells::unsigned(row, 4)?,
                point: row.get(5)?,
                unit: row.get(6)?,
                unit_kind: row.get(17)?,
                experiment: row.get(7)?,
                arm: row.get(8)?,
                served_by: row.get(9)?,
                outcome: row.get(10)?,
                action: row.get(11)?,
                took_us: cells::unsigned(row, 12)?,
                forced: row.get(13)?,
                batch: row.get(14)?,
                attributes: row.get(15)?,
            },
            identity: row.get(16)?,
        })
    }

    fn checked(&self, decision_id: &str) -> Result<(Record, Unpacked<'_>), RecordError> {
        if self.packed.is_empty() {
            return Err(RecordError::Expired);
        }
        let unpacked = unpack(&self.packed, self.dictionary.as_ref()).map_err(RecordError::Altered)?;
        let found = unpacked.digest();
        if found != self.digest {
            let stored = &self.digest;
            let why = format!("the record was altered: its digest is {found}, and {stored} was stored");
            return Err(RecordError::Altered(why));
        }
        let record = unpacked.record().map_err(RecordError::Altered)?;
        match self.beside.differs(decision_id, &record) {
            None => Ok((record, unpacked)),
            Some(why) => Err(RecordError::Altered(why)),
        }
    }
}

impl Beside {
    /// The first column that differs from the record.
    fn differs(&self, id: &str, record: &Record) -> Option<String> {
        let assignment = record.routing.assignment.as_ref();
        let text = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("'{text}'"));
        let pairs: [(&str, String, String); 11] = [
            ("decision_id", text(Some(id)), text(Some(&record.decision_id))),
            ("time_ms", self.time_ms.to_string(), record.time_ms.to_string()),
            ("point", text(Some(&self.point)), text(Some(&record.decision_point))),
            ("unit", text(self.unit.as_deref()), text(record.unit().map(|unit| &*unit.id))),
            ("experiment", text(self.experiment.as_deref()), text(assignment.map(|a| &*a.experiment))),
            ("arm", text(self.arm.as_deref()), text(assignment.map(|a| &*a.arm))),
            ("served_by", text(Some(&self.served_by)), text(Some(record.answer.served_by.as_str()))),
            ("outcome", text(self.outcome.as_deref()), text(record.attempts.first().map(|a| a.outcome.label()))),
            ("action", text(Some(&self.action)), text(Some(&record.answer.action))),
            ("took_us", self.took_us.to_string(), record.timings_us.values().sum::<u64>().to_string()),
            (
                "forced, batch",
                format!("{}, {:?}", self.forced, self.batch),
                format!("{}, {:?}", assignment.is_some_and(|a| a.forced), assignment.and_then(|a| a.batch)),
            ),
        ];
        let plain = pairs.into_iter().find(|(_, row, record)| row != record);
        let others = || self.kind_that_differs(record).or_else(|| self.attribute_that_differs(record));
        let (column, row, record) = plain.or_else(others)?;
        Some(format!("the row and its record differ: {column} is {row} in the row, and {record} in the record"))
    }

    /// The unit's kind, if it is kept and differs from the record.
    fn kind_that_differs(&self, record: &Record) -> Option<(&'static str, String, String)> {
        let (kept, recorded) = (self.unit_kind.as_deref()?, record.unit().map_or("none", |unit| &unit.kind));
        (kept != recorded).then(|| ("unit_kind", kept.to_owned(), recorded.to_owned()))
    }

    /// An attribute that differs from the record.
    fn attribute_that_differs(&self, record: &Record) -> Option<(&'static str, String, String)> {
        let text = self.attributes.as_deref()?;
        let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
        let recorded = |name: &str| {
            let attribute = experiment::Attribute::parse(name).ok()?;
            serde_json::to_value(record.feature(&attribute.view, &attribute.name)?).ok()
        };
        let (name, value) = kept.iter().find(|(name, value)| recorded(name).as_ref() != Some(value))?;
        let known = recorded(name).map_or_else(|| "none".to_owned(), |value| value.to_string());
        Some(("attributes", format!("{name} = {value}"), known))
    }
}
