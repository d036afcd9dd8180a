//! Writing rows: a push in one transaction, a load in many short ones.

use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serin_core::Name;
use serin_core::value::Value;

use super::EmbeddedStore;
use super::stored::WholeRow;
use crate::clock::Stopwatch;
use crate::features::{FeatureInput, StoreError, Upserted};

/// Rows of one of a load's transactions.
pub(super) const LOAD_ROWS: usize = 256;
/// Bytes of text in them, about.
const LOAD_BYTES: usize = 256 << 10;
/// How long such a transaction goes on: a slow disk makes it smaller.
const LOAD_TIME: Duration = Duration::from_millis(20);
/// How long a load then stays away from the writer. Whoever waits looks more often than that.
const LOAD_PAUSE: Duration = Duration::from_millis(4);

impl EmbeddedStore {
    /// Writes rows in one transaction. Columns merge, each by its own event time: an older one
    /// never replaces a newer one, and columns that are left out stay as they are.
    ///
    /// # Errors
    /// What SQLite says; then no row was written.
    pub fn upsert(&self, view: &Name, rows: impl IntoIterator<Item = FeatureInput>) -> Result<Upserted, StoreError> {
        self.push(view, None, rows)
    }

    /// As [`EmbeddedStore::upsert`], and notes who sent the rows.
    ///
    /// # Errors
    /// What SQLite says; then no row was written.
    pub fn push(
        &self,
        view: &Name,
        identity: Option<&str>,
        rows: impl IntoIterator<Item = FeatureInput>,
    ) -> Result<Upserted, StoreError> {
        let mut rows = rows.into_iter();
        self.write(view, identity, &mut rows, || true)
    }

    /// Writes rows in short transactions, so that others get to write meanwhile. `rows` is read
    /// outside of them.
    ///
    /// # Errors
    /// The first row that is an error, or SQLite's error; the rows of earlier transactions were
    /// written.
    pub(in crate::features) fn load<E: From<StoreError>>(
        &self,
        view: &Name,
        mut rows: impl Iterator<Item = Result<FeatureInput, E>>,
        mut written: impl FnMut(Upserted),
    ) -> Result<Upserted, E> {
        let mut total = Upserted::default();
        loop {
            let batch = batch_of(&mut rows)?;
            if batch.is_empty() {
                return Ok(total);
            }
            let mut batch = batch.into_iter();
            while batch.len() > 0 {
                let mut spent = Duration::ZERO;
                let mut watch = Stopwatch::new();
                let goes_on = || {
                    spent += Duration::from_micros(watch.lap_us());
                    spent < LOAD_TIME
                };
                total += self.write(view, None, &mut batch, goes_on)?;
                written(total);
                std::thread::sleep(LOAD_PAUSE);
            }
        }
    }

    /// One transaction; what it has written is read from the database from then on.
    fn write(
        &self,
        view: &Name,
        identity: Option<&str>,
        rows: &mut impl Iterator<Item = FeatureInput>,
        goes_on: impl FnMut() -> bool,
    ) -> Result<Upserted, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entities = Vec::new();
        let mut noted = rows.inspect(|row| entities.push(row.entity.clone()));
        let written = within(&mut writer.connection, (view, identity), &mut noted, goes_on);
        // Also after an error, of which it is not said how far it came.
        self.rows.remove(view, entities.iter().map(String::as_str));
        self.forget_if_written(&mut writer);
        written
    }
}

/// The rows of the next transaction.
fn batch_of<E>(rows: &mut impl Iterator<Item = Result<FeatureInput, E>>) -> Result<Vec<FeatureInput>, E> {
    let (mut batch, mut bytes) = (Vec::with_capacity(LOAD_ROWS), 0);
    while batch.len() < LOAD_ROWS && bytes < LOAD_BYTES {
        let Some(row) = rows.next().transpose()? else { break };
        let texts = row.values.values().map(|value| if let Value::Text(text) = value { text.len() } else { 0 });
        bytes += row.entity.len() + texts.sum::<usize>();
        batch.push(row);
    }
    Ok(batch)
}

/// Writes rows in one transaction, until there are no more or `goes_on` says that it is enough.
pub(super) fn within(
    writer: &mut Connection,
    of: (&Name, Option<&str>),
    rows: &mut impl Iterator<Item = FeatureInput>,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Upserted, StoreError> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut upserted = Upserted::default();
    for row in rows.by_ref() {
        match put(&transaction, of, row)? {
            true => upserted.written += 1,
            false => upserted.older += 1,
        }
        if !goes_on() {
            break;
        }
    }
    transaction.commit()?;
    Ok(upserted)
}

/// Writes one row; says whether anything of it was new.
fn put(
    transaction: &Transaction<'_>,
    (view, identity): (&Name, Option<&str>),
    input: FeatureInput,
) -> Result<bool, StoreError> {
    let unreadable = |e: serde_json::Error| StoreError::Row { view: view.clone(), why: e.to_string() };
    let entity = input.entity.clone();
    let mut find = transaction
        .prepare_cached("SELECT event_time_ms, row, times FROM feature_rows WHERE view = ?1 AND entity = ?2")?;
    let found = find
        .query_row(params![&**view, entity], |row| {
            let (values, times) = (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str_or_null()?);
            Ok(WholeRow::parse(row.get::<_, i64>(0)? as u64, values, times))
        })
        .optional()?
        .transpose()
        .map_err(unreadable)?;
    let whole = match found {
        None => WholeRow::from(input),
        Some(mut known) => {
            if !known.merge(input) {
                return Ok(false);
            }
            known
        }
    };
    let values = serde_json::to_string(&whole.values).map_err(unreadable)?;
    let times = if whole.times.is_empty() { None } else { Some(serde_json::to_string(&whole.times)) };
    let times = times.transpose().map_err(unreadable)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO feature_rows (view, entity, event_time_ms, row, times, identity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![&**view, entity, whole.event_time_ms as i64, values, times, identity])?;
    Ok(true)
}
