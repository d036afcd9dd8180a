//! Feature views: what is known of an entity, pushed or loaded from outside and read once
//! a decision.

mod cells;
mod csv_file;
mod embedded;
mod file_rows;
mod load;
mod parquet_file;
mod parquet_pages;
mod quotes;

use indexmap::IndexMap;
use serin_core::row::Row;
use serin_core::value::Value;
use serin_core::{Name, NameMap, identifier};

use crate::deployment::ViewSpec;
pub use embedded::{EmbeddedStore, RowKey};
pub use file_rows::LoadOptions;
pub use load::{LoadError, Loaded, Progress, load_file};
pub use quotes::ClosedQuotes;

/// Rows that one push may hold.
pub const MAX_PUSH_ROWS: usize = 10_000;

/// A row on its way in.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureInput {
    /// The entity's id.
    pub entity: String,
    /// When its values were true, in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The values. Null clears a column; one left out stays as it is.
    pub values: NameMap<Value>,
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// When the newest value of the whole row was true.
    pub event_time_ms: u64,
    /// The event times of those columns asked for that are older.
    pub column_times_ms: NameMap<u64>,
    /// The values of the columns asked for.
    pub values: Row<Value>,
}

/// What became of pushed rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Rows of which at least one value was written.
    pub written: u64,
    /// Rows of which nothing was written, since all that they name is known of a newer event time.
    pub older: u64,
}

impl std::ops::AddAssign for Upserted {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.older += other.older;
    }
}

/// Why the store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("feature store: {0}")]
    Database(#[from] rusqlite::Error),
    /// Its file cannot be made.
    #[error("feature store {file}: {error}")]
    File {
        /// The file.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A stored row cannot be read.
    #[error("feature store: row of view '{view}': {why}")]
    Row {
        /// The view.
        view: Name,
        /// What is wrong with it.
        why: String,
    },
    /// The database was written by a newer program.
    #[error("feature store: its schema is version {found}, and this program knows up to {known}; use a newer one")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
}

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
        identifier::check(&entity).map_err(|why| format!("entity: {why}"))?;
        let event_time_ms = self.event_time(event_time, now_ms)?;
        let mut admitted = NameMap::with_capacity_and_hasher(values.len(), Default::default());
        for (column, value) in values {
            let (name, value_type) = self.column(&column)?;
            let value = value_type.admit(value).map_err(|is| format!("column '{column}' is {is}, not {value_type}"))?;
            value.check_size().map_err(|why| format!("column '{column}' {why}"))?;
            admitted.insert(name.clone(), value);
        }
        Ok(FeatureInput { entity, event_time_ms, values: admitted })
    }

    fn event_time(&self, text: &str, now_ms: u64) -> Result<u64, String> {
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            format!(
                "event_time: '{}' is not a time; valid: RFC 3339 with its offset, like 2026-11-01T00:00:00Z",
                clip(text)
            )
        })?;
        let ms = u64::try_from(time.as_millisecond()).map_err(|_| "event_time is before 1970".to_owned())?;
        if ms > now_ms.saturating_add(self.future_tolerance_ms) {
            let tolerance = humantime::format_duration(std::time::Duration::from_millis(self.future_tolerance_ms));
            return Err(format!(
                "event_time: {} lies more than {tolerance} in the future; valid: up to server.future_tolerance ahead of this host's clock",
                clip(text)
            ));
        }
        Ok(ms)
    }
}

/// What somebody sent, short enough to be repeated in an error.
fn clip(text: &str) -> String {
    if text.chars().count() <= 64 { text.to_owned() } else { text.chars().take(64).chain(['…']).collect() }
}
