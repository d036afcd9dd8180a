//! Files of features: CSV and Parquet, with the columns `entity`, `event_time` and any of
//! the view's. A file is read whole and checked before any of it is written.

use std::any::Any;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use indexmap::IndexMap;
use serin_core::Name;
use serin_core::value::Value;

use super::csv_file::CsvRows;
use super::file_rows::{Columns, FileRow, LoadOptions, RowError};
use super::parquet_file::ParquetRows;
use super::{EmbeddedStore, FeatureInput, StoreError, Upserted, cells};
use crate::deployment::ViewSpec;
use crate::files;

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or is of another kind. Nothing of it was loaded.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// A row does not fit the view. Nothing of the file was loaded.
    #[error("{file}: row {row}{}: {why}; nothing of the file was loaded", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Row {
        /// The file.
        file: String,
        /// The row, counted from 1, the header not counted.
        row: u64,
        /// The line where it begins, in a file that has lines.
        line: Option<u64>,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed, or the file changed, after some rows had been written.
    #[error(
        "{file}: {done} of {rows} rows were taken, and then: {why}; load the file again: what is there already stays"
    )]
    Broken {
        /// The file.
        file: String,
        /// Rows written, or older than what is there.
        done: u64,
        /// Rows in the file.
        rows: u64,
        /// What went wrong.
        why: String,
    },
}

/// How far a load is, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Rows checked; nothing is written yet.
    Checked(u64),
    /// Rows taken, and rows in the file.
    Taken(u64, u64),
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What became of its rows.
    pub rows: Upserted,
    /// Columns of the view that it does not have; their values stay as they are.
    pub without: Vec<Name>,
    /// What looks like a mistake.
    pub warnings: Vec<String>,
}

/// Loads a `.csv` or `.parquet` file into a view. It is read twice: once to check every row, and once
/// to write them, in short transactions between which others may write.
///
/// # Errors
/// The row and column that do not fit, or what else is wrong.
pub fn load_file(
    store: &EmbeddedStore,
    spec: &ViewSpec,
    path: &Path,
    options: &LoadOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Loaded, LoadError> {
    let shown = files::shown(path);
    let fail = |why: String| LoadError::File { file: shown.clone(), why };
    let (mut file, _) = files::open_regular(path).map_err(|e| fail(e.to_string()))?;
    let again = file.try_clone().map_err(|e| fail(e.to_string()))?;
    let mut nulls = NullLike::default();
    let (rows, columns) = rows(again, path, spec, options).map_err(fail)?;
    let mut count = 0;
    for row in rows {
        count += 1;
        progress(Progress::Checked(count));
        let row = row.and_then(|raw| {
            let line = raw.line;
            admit(spec, raw, options.now_ms).map_err(|why| (line, why))
        });
        match row {
            Ok(row) => nulls.look_at(&row, count),
            Err((line, why)) => return Err(LoadError::Row { file: shown, row: count, line, why }),
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(|e| fail(e.to_string()))?;
    let mut done = 0;
    let broken = |done: u64, why: String| LoadError::Broken { file: shown.clone(), done, rows: count, why };
    let (rows, _) = self::rows(file, path, spec, options).map_err(|why| broken(0, why))?;
    let rows = rows.map(|row| {
        let admitted = row.and_then(|raw| admit(spec, raw, options.now_ms).map_err(|why| (None, why)));
        admitted.map_err(|(_, why)| Failure(format!("the file has changed: {why}")))
    });
    let upserted = store.load(&spec.name, rows, |upserted| {
        done = upserted.written + upserted.older;
        progress(Progress::Taken(done, count));
    });
    let rows = upserted.map_err(|Failure(why)| broken(done, why))?;
    Ok(Loaded { rows, without: columns.without, warnings: nulls.warnings() })
}

/// Why writing stopped.
struct Failure(String);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// What a reader of some kind of file yields.
type Rows<'a> = Box<dyn Iterator<Item = Result<FileRow, RowError>> + 'a>;

/// The rows of a file, and its columns. A panic of a parser is an error of the file.
fn rows<'a>(file: File, path: &Path, spec: &ViewSpec, options: &'a LoadOptions) -> Result<(Rows<'a>, Columns), String> {
    let open = || -> Result<(Rows<'a>, Columns), String> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("csv") => {
                CsvRows::open(file, spec, options).map(|(rows, columns)| (Box::new(rows) as Rows<'a>, columns))
            }
            Some("parquet") => {
                ParquetRows::open(file, spec, options).map(|(rows, columns)| (Box::new(rows) as Rows<'a>, columns))
            }
            _ => Err("not a feature file; valid: .csv or .parquet".to_owned()),
        }
    };
    let (rows, columns) = catch_unwind(AssertUnwindSafe(open)).map_err(|panic| panicked(&*panic))??;
    Ok((Box::new(Caught(Some(rows))), columns))
}

/// Turns a panic of the parser into an error, after which nothing follows.
struct Caught<'a>(Option<Rows<'a>>);

impl Iterator for Caught<'_> {
    type Item = Result<FileRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.0.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| rows.next())) {
            Ok(next) => next,
            Err(panic) => {
                self.0 = None;
                Some(Err((None, panicked(&*panic))))
            }
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("cannot be read: {}", super::clip(text.unwrap_or("the parser failed")))
}

fn admit(spec: &ViewSpec, raw: FileRow, now_ms: u64) -> Result<FeatureInput, String> {
    let mut values = raw.values;
    let mut take = |key: &str| match values.shift_remove(key) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Integer(i)) if key == "entity" => Ok(i.to_string()),
        Some(other) => Err(format!("{key} is {}, not text", other.kind())),
        None => Err(format!("{key} is not there")),
    };
    let (entity, event_time) = (take("entity")?, take("event_time")?);
    spec.admit(entity, &event_time, values, now_ms)
}

/// Texts that look like nulls, by column.
#[derive(Default)]
struct NullLike {
    seen: IndexMap<(Name, String), (u64, u64)>,
}

impl NullLike {
    fn look_at(&mut self, row: &FeatureInput, number: u64) {
        let texts = row.values.iter().filter_map(|(column, value)| match value {
            Value::Text(text) => Some((column.clone(), text)),
            _ => None,
        });
        for (column, text) in texts.chain([("entity".into(), &row.entity)]) {
            if cells::is_null_like(text) {
                self.seen.entry((column, text.clone())).or_insert((0, number)).0 += 1;
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let warning = |((column, text), (count, first)): (&(Name, String), &(u64, u64))| {
            format!(
                "column '{column}' holds the text '{text}' in {count} rows, first in row {first}; if it stands for nothing, load with --null '{text}'"
            )
        };
        self.seen.iter().map(warning).collect()
    }
}
