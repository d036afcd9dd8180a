//! Cells as they are in the file. SQLite keeps a value of any type in any column, so a row that was
//! altered from outside may hold a text where a number belongs.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Row};

/// What is wrong with a row, where an error says that one of its cells has another type than its
/// column, or a value out of range; none for an error of the database.
pub(super) fn fault(error: &Error) -> Option<String> {
    let kind = |kind: &Type| match kind {
        Type::Null => "null",
        Type::Integer => "an integer",
        Type::Real => "a number",
        Type::Text => "a text",
        Type::Blob => "a blob",
    };
    match error {
        Error::InvalidColumnType(_, column, found) => {
            Some(format!("the row was altered: its {column} is {}", kind(found)))
        }
        Error::IntegralValueOutOfRange(_, value) => {
            Some(format!("the row was altered: it holds {value}, which is out of range"))
        }
        Error::FromSqlConversionFailure(_, _, why) => Some(format!("the row was altered: {why}")),
        _ => None,
    }
}

/// A cell as text, whatever its type.
pub(super) fn shown(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => String::new(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => value.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    })
}

/// A text.
pub(super) fn text<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<&'r str> {
    optional_text(row, at)?.ok_or_else(|| of_type(row, at, Type::Null))
}

/// A text, or null.
pub(super) fn optional_text<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<Option<&'r str>> {
    let cell = row.get_ref(at)?;
    cell.as_str_or_null().map_err(|_| of_type(row, at, cell.data_type()))
}

fn of_type(row: &Row<'_>, at: usize, found: Type) -> Error {
    let column = row.as_ref().column_name(at).unwrap_or_default().to_owned();
    Error::InvalidColumnType(at, column, found)
}

/// A number that is not negative.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(at, value))
}

/// A finite number.
pub(super) fn finite(row: &Row<'_>, at: usize) -> rusqlite::Result<f64> {
    let value: f64 = row.get(at)?;
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::FromSqlConversionFailure(at, Type::Real, format!("it holds {value}, which is no finite number").into()))
}
