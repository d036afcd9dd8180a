//! Files of features: CSV and Parquet, with the columns `entity`, `event_time` and any of
//! the view's. A file is applied whole or not at all.

use std::fs::File;
use std::path::Path;

use indexmap::IndexMap;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serin_core::value::{Value, ValueType};

use super::{EmbeddedStore, FeatureInput, StoreError, Upserted};
use crate::deployment::ViewSpec;

/// Why a file was not loaded. Nothing of it was applied.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or is of another kind.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// A row does not fit the view.
    #[error("{file}: row {row}: {why}; nothing of the file was loaded")]
    Row {
        /// The file.
        file: String,
        /// The row, counted from 1, the header not counted.
        row: u64,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Loads a `.csv` or `.parquet` file into a view. `progress` is called with the number of
/// rows read so far.
///
/// # Errors
/// The row and column that do not fit, or what else is wrong.
pub fn load_file(
    store: &EmbeddedStore,
    spec: &ViewSpec,
    path: &Path,
    now_ms: u64,
    mut progress: impl FnMut(u64),
) -> Result<Upserted, LoadError> {
    let shown = path.display().to_string();
    let fail = |why: String| LoadError::File { file: shown.clone(), why };
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let rows: Box<dyn Iterator<Item = Result<RawRow, String>>> = match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Box::new(csv_rows(file, spec).map_err(fail)?),
        Some("parquet") => Box::new(parquet_rows(file, spec).map_err(fail)?),
        _ => return Err(fail("not a feature file; valid: .csv or .parquet".to_owned())),
    };
    let mut number = 0;
    let rows = rows.map(|raw| {
        number += 1;
        progress(number);
        raw.and_then(|raw| admit(spec, raw, now_ms)).map_err(|why| LoadError::Row {
            file: shown.clone(),
            row: number,
            why,
        })
    });
    store.upsert(&spec.name, rows)
}

/// The columns that every feature file has.
const REQUIRED: [&str; 2] = ["entity", "event_time"];

type RawRow = IndexMap<String, Value>;

fn admit(spec: &ViewSpec, mut raw: RawRow, now_ms: u64) -> Result<FeatureInput, String> {
    let mut take = |key: &str| match raw.shift_remove(key) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Integer(i)) if key == "entity" => Ok(i.to_string()),
        Some(other) => Err(format!("{key} is {}, not text", other.kind())),
        None => Err(format!("{key} is not there")),
    };
    let (entity, event_time) = (take("entity")?, take("event_time")?);
    spec.admit(entity, &event_time, raw, now_ms)
}

/// Checks a file's columns, whether or not a row follows.
fn check_columns<'a>(spec: &ViewSpec, columns: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    for column in columns {
        if seen.contains(&column) {
            return Err(format!("column '{column}' is there twice"));
        }
        if !REQUIRED.contains(&column) {
            spec.column(column)?;
        }
        seen.push(column);
    }
    match REQUIRED.iter().find(|required| !seen.contains(*required)) {
        Some(missing) => {
            Err(format!("no column '{missing}'; a feature file has entity, event_time and the view's columns"))
        }
        None => Ok(()),
    }
}

/// CSV has no types: each cell is read as the view declares its column. An empty cell is
/// not known.
fn csv_rows(file: File, spec: &ViewSpec) -> Result<impl Iterator<Item = Result<RawRow, String>> + use<>, String> {
    let mut reader = csv::ReaderBuilder::new().from_reader(file);
    let header: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
    check_columns(spec, header.iter().map(String::as_str))?;
    let types: Vec<ValueType> =
        header.iter().map(|column| spec.columns.get(column.as_str()).copied().unwrap_or(ValueType::Text)).collect();
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|e| e.to_string())?;
        header
            .iter()
            .zip(&types)
            .zip(&record)
            .map(|((column, value_type), cell)| Ok((column.clone(), cell_value(column, *value_type, cell)?)))
            .collect()
    }))
}

fn cell_value(column: &str, value_type: ValueType, cell: &str) -> Result<Value, String> {
    if cell.is_empty() {
        return Ok(Value::Missing);
    }
    let parsed = match value_type {
        ValueType::Text => Some(Value::Text(cell.to_owned())),
        ValueType::Integer => cell.parse().ok().map(Value::Integer),
        ValueType::Number => cell.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Number),
        ValueType::Boolean => cell.parse().ok().map(Value::Boolean),
    };
    parsed.ok_or_else(|| format!("column '{column}': '{cell}' is not {value_type}"))
}

fn parquet_rows(file: File, spec: &ViewSpec) -> Result<impl Iterator<Item = Result<RawRow, String>> + use<>, String> {
    let reader = SerializedFileReader::new(file).map_err(|e| format!("not a Parquet file: {e}"))?;
    let columns = reader.metadata().file_metadata().schema().get_fields();
    if let Some(nested) = columns.iter().find(|field| !field.is_primitive()) {
        return Err(format!("column '{}' is nested, and a feature is a single value", nested.name()));
    }
    check_columns(spec, columns.iter().map(|field| field.name()))?;
    Ok(reader.into_iter().map(|row| {
        let row = row.map_err(|e| e.to_string())?;
        row.get_column_iter().map(|(column, field)| Ok((column.clone(), field_value(column, field)?))).collect()
    }))
}

fn field_value(column: &str, field: &Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Missing,
        Field::Bool(b) => Value::Boolean(*b),
        Field::Byte(i) => Value::Integer((*i).into()),
        Field::Short(i) => Value::Integer((*i).into()),
        Field::Int(i) => Value::Integer((*i).into()),
        Field::Long(i) => Value::Integer(*i),
        Field::UByte(i) => Value::Integer((*i).into()),
        Field::UShort(i) => Value::Integer((*i).into()),
        Field::UInt(i) => Value::Integer((*i).into()),
        // A missing number is NaN in the data frames that such files come from.
        Field::Float(x) if x.is_nan() => Value::Missing,
        Field::Double(x) if x.is_nan() => Value::Missing,
        Field::Float(x) => Value::Number((*x).into()),
        Field::Double(x) => Value::Number(*x),
        Field::Str(text) => Value::Text(text.clone()),
        Field::TimestampMillis(ms) => timestamp(jiff::Timestamp::from_millisecond(*ms))?,
        Field::TimestampMicros(us) => timestamp(jiff::Timestamp::from_microsecond(*us))?,
        other => return Err(format!("column '{column}': {other} is of a type that features do not have")),
    })
}

fn timestamp(time: Result<jiff::Timestamp, jiff::Error>) -> Result<Value, String> {
    time.map(|t| Value::Text(t.to_string())).map_err(|e| e.to_string())
}
