//! The rows that were read last, in memory. A push removes what it has written; a write of another
//! process is noticed by the database's version, and removes everything.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use serin_core::Name;
use serin_core::value::Value;

use crate::features::StoredRow;

/// What the rows take up, about.
const BYTES: u64 = 64 << 20;
/// Rows that are expected, for what is allocated at first.
const ROWS: usize = 4 << 10;
/// What an entry takes up beside its texts and values.
const ENTRY_BYTES: usize = 200;
/// The most sets of columns that are kept of one row: decision points read different ones.
const SETS: usize = 4;

/// The row that a decision asks for, by a set of columns; none where there is no row.
type OfColumns = (Arc<[Name]>, Option<StoredRow>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    view: Name,
    entity: Box<str>,
}

#[derive(Clone, Copy)]
struct Asked<'a>(&'a str, &'a str);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(&self.view, &self.entity).hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.0 == *key.view && *self.1 == *key.entity
    }
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Arc<[OfColumns]>> for Bytes {
    fn weight(&self, key: &Key, sets: &Arc<[OfColumns]>) -> u64 {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let of_row = |row: &StoredRow| {
            let values = row.values.iter().map(|(_, value)| size_of::<Value>() + text(value)).sum::<usize>();
            values + row.column_times_ms.len() * 64
        };
        let sets = sets.iter().map(|(_, row)| row.as_ref().map_or(0, of_row)).sum::<usize>();
        (ENTRY_BYTES + key.entity.len() + sets) as u64
    }
}

/// Rows by view and entity.
#[derive(Debug)]
pub(super) struct RowCache {
    rows: Cache<Key, Arc<[OfColumns]>, Bytes>,
    /// Counts the writes: a row that was read before one must not be kept after it.
    writes: AtomicU64,
}

impl RowCache {
    pub fn new() -> Self {
        Self { rows: Cache::with_weighter(ROWS, BYTES, Bytes), writes: AtomicU64::new(0) }
    }

    /// The number of writes so far. What is read from the database after this may be kept by it.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// The row of an entity, where it is known: some, and that there is none.
    pub fn get(&self, view: &str, entity: &str, columns: &Arc<[Name]>) -> Option<Option<StoredRow>> {
        let sets = self.rows.get(&Asked(view, entity))?;
        sets.iter().find(|(of, _)| Arc::ptr_eq(of, columns)).map(|(_, row)| row.clone())
    }

    /// Keeps a row that was read after [`Self::writes`] was `writes`.
    pub fn keep(&self, view: &Name, entity: &str, columns: &Arc<[Name]>, row: Option<&StoredRow>, writes: u64) {
        if self.writes() != writes {
            return;
        }
        let known = self.rows.get(&Asked(view, entity)).unwrap_or_else(|| Arc::new([]));
        let others = known.iter().filter(|(of, _)| !Arc::ptr_eq(of, columns));
        // The newest come first: those of a deployment that is gone are left behind.
        let sets = [(Arc::clone(columns), row.cloned())].into_iter().chain(others.take(SETS - 1).cloned()).collect();
        self.rows.insert(Key { view: view.clone(), entity: entity.into() }, sets);
        // A write that ended meanwhile has looked for the row before it was here.
        if self.writes() != writes {
            self.rows.remove(&Asked(view, entity));
        }
    }

    /// Removes the rows that a transaction has written, after its commit.
    pub fn remove<'e>(&self, view: &str, entities: impl Iterator<Item = &'e str>) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        for entity in entities {
            self.rows.remove(&Asked(view, entity));
        }
    }

    /// Removes all rows.
    pub fn clear(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use serin_core::row::Row;

    use super::*;

    fn columns() -> Arc<[Name]> {
        ["dti".into()].into()
    }

    fn row(columns: &Arc<[Name]>, dti: f64) -> StoredRow {
        let values = Row::new(Arc::clone(columns), vec![Value::Number(dti)]);
        StoredRow { event_time_ms: 1, column_times_ms: Default::default(), values }
    }

    #[test]
    fn a_row_is_known_by_the_columns_that_were_read() {
        let (cache, columns, others) = (RowCache::new(), columns(), columns());
        let view: Name = "profile".into();
        assert_eq!(cache.get(&view, "b-1", &columns), None);
        cache.keep(&view, "b-1", &columns, Some(&row(&columns, 1.0)), 0);
        cache.keep(&view, "b-1", &others, None, 0);
        assert_eq!(cache.get(&view, "b-1", &columns), Some(Some(row(&columns, 1.0))));
        assert_eq!(cache.get(&view, "b-1", &others), Some(None));
        assert_eq!(cache.get(&view, "b-2", &columns), None);
        assert_eq!(cache.get("loan", "b-1", &columns), None);
        (0..SETS).for_each(|_| cache.keep(&view, "b-1", &self::columns(), None, 0));
        assert_eq!(cache.get(&view, "b-1", &columns), None, "few sets of columns are kept");
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let (cache, columns) = (RowCache::new(), columns());
        let view: Name = "profile".into();
        let before = cache.writes();
        cache.remove(&view, ["b-1"].into_iter());
        cache.keep(&view, "b-1", &columns, Some(&row(&columns, 1.0)), before);
        assert_eq!(cache.get(&view, "b-1", &columns), None);
        cache.keep(&view, "b-1", &columns, Some(&row(&columns, 2.0)), cache.writes());
        cache.remove(&view, ["b-2"].into_iter());
        assert!(cache.get(&view, "b-1", &columns).is_some(), "others stay");
        cache.clear();
        assert_eq!(cache.get(&view, "b-1", &columns), None);
    }

    #[test]
    fn rows_take_up_a_bounded_amount_of_memory() {
        let (cache, columns) = (RowCache::new(), columns());
        let view: Name = "profile".into();
        let values = Row::new(Arc::clone(&columns), vec![Value::Text("x".repeat(4 << 10))]);
        let row = StoredRow { event_time_ms: 1, column_times_ms: Default::default(), values };
        for i in 0..40_000 {
            cache.keep(&view, &format!("b-{i}"), &columns, Some(&row), 0);
        }
        assert!(cache.rows.weight() <= BYTES, "{} bytes", cache.rows.weight());
        assert!(cache.rows.len() > 10_000, "{} rows", cache.rows.len());
    }
}
