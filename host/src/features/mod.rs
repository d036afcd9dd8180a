//! Feature views: what is known of an entity, pushed or loaded from outside and read once
//! a decision.

mod embedded;
mod load;

use indexmap::IndexMap;
use serin_core::row::Row;
use serin_core::value::Value;
use serin_core::{Name, NameMap};

use crate::deployment::ViewSpec;
pub use embedded::EmbeddedStore;
pub use load::{LoadError, load_file};

/// Rows that one push may hold.
pub const MAX_PUSH_ROWS: usize = 10_000;

/// A row on its way in.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureInput {
    /// The entity's id.
    pub entity: String,
    /// When its values were true, in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The values; columns left out are not known.
    pub values: NameMap<Value>,
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// When its values were true.
    pub event_time_ms: u64,
    /// The values of the columns asked for.
    pub values: Row<Value>,
}

/// What became of pushed rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Rows written.
    pub written: u64,
    /// Rows not written, since a row of a newer event time is there.
    pub older: u64,
}

/// Why the store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("feature store: {0}")]
    Database(#[from] rusqlite::Error),
    /// A stored row cannot be read.
    #[error("feature store: row of view '{view}': {why}")]
    Row {
        /// The view.
        view: Name,
        /// What is wrong with it.
        why: String,
    },
}

/// How far in the future an event time may lie. Beyond, it is a mistake that would keep
/// every later row out.
const FUTURE_MS: u64 = 24 * 60 * 60 * 1000;

impl ViewSpec {
    /// Checks a row against the view, and gives its values the declared types.
    ///
    /// # Errors
    /// The column or time that is wrong, and what would be valid.
    pub fn admit(
        &self,
        entity: String,
        event_time: &str,
        values: IndexMap<String, Value>,
        now_ms: u64,
    ) -> Result<FeatureInput, String> {
        if entity.is_empty() || entity.len() > 256 {
            return Err("entity: an id of 1 to 256 bytes is needed".to_owned());
        }
        let time: jiff::Timestamp = event_time.parse().map_err(|_| {
            format!("event_time: '{event_time}' is not a time; valid: RFC 3339, like 2026-11-01T00:00:00Z")
        })?;
        let event_time_ms = u64::try_from(time.as_millisecond()).map_err(|_| "event_time is before 1970".to_owned())?;
        if event_time_ms > now_ms + FUTURE_MS {
            return Err(format!("event_time: {event_time} lies more than a day in the future"));
        }
        let mut admitted = NameMap::with_capacity_and_hasher(values.len(), Default::default());
        for (column, value) in values {
            let (name, value_type) = self.column(&column)?;
            let value = value_type.admit(value).map_err(|is| format!("column '{column}' is {is}, not {value_type}"))?;
            admitted.insert(name.clone(), value);
        }
        Ok(FeatureInput { entity, event_time_ms, values: admitted })
    }
}
