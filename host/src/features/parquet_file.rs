//! Parquet files. What a column holds is decided by its type in the file, before any row is read: a
//! type that features do not have is an error that says how to convert it.

use std::fs::File;
use std::sync::Arc;

use indexmap::IndexMap;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serin_core::value::{Value, ValueType};

use super::cells;
use super::file_rows::{Columns, FileRow, LoadOptions, RowError};
use super::parquet_pages::CheckedFile;
use crate::deployment::ViewSpec;

pub(super) struct ParquetRows<'a> {
    rows: RowIter<'static>,
    columns: Vec<Column>,
    options: &'a LoadOptions,
}

struct Column {
    name: String,
    declared: ValueType,
    holds: Holds,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Holds {
    Plain,
    Time(Unit),
    Date,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Milli,
    Micro,
    Nano,
}

impl<'a> ParquetRows<'a> {
    pub fn open(file: File, spec: &ViewSpec, options: &'a LoadOptions) -> Result<(Self, Columns), String> {
        let reader = SerializedFileReader::new(file).map_err(|e| format!("not a Parquet file: {e}"))?;
        let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        let checked = Columns::check(spec, schema.get_fields().iter().map(|field| field.name()))?;
        let columns = schema.get_fields().iter().map(|field| column(spec, field)).collect::<Result<_, _>>()?;
        let rows = RowIter::from_file_into(Box::new(CheckedFile(reader)));
        Ok((Self { rows, columns, options }, checked))
    }

    fn row(&self, row: &parquet::record::Row) -> Result<FileRow, String> {
        let mut values = IndexMap::with_capacity(self.columns.len());
        for (column, (_, field)) in self.columns.iter().zip(row.get_column_iter()) {
            let value = value(column, field).map_err(|why| format!("column '{}' {why}", column.name))?;
            let value = match value {
                Value::Text(text) if self.options.is_null(&text) => Value::Missing,
                value => value,
            };
            values.insert(column.name.clone(), value);
        }
        Ok(FileRow { line: None, values })
    }
}

impl Iterator for ParquetRows<'_> {
    type Item = Result<FileRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?.map_err(|e| e.to_string());
        Some(row.and_then(|row| self.row(&row)).map_err(|why| (None, why)))
    }
}

fn column(spec: &ViewSpec, field: &Arc<Type>) -> Result<Column, String> {
    let name = field.name();
    let declared = spec.columns.get(name).copied().unwrap_or(ValueType::Text);
    let holds = holds(field).map_err(|(kind, convert)| format!("column '{name}' is of type {kind}; {convert}"))?;
    Ok(Column { name: name.to_owned(), declared, holds })
}

/// What the values of a column are, or its type and how to convert it to one that features have.
fn holds(field: &Type) -> Result<Holds, (String, &'static str)> {
    if !field.is_primitive() || field.get_basic_info().repetition() == Repetition::REPEATED {
        let info = field.get_basic_info();
        let kind = info
            .logical_type_ref()
            .map_or_else(|| "STRUCT or LIST".to_owned(), |kind| format!("{kind:?}").to_uppercase());
        return Err((
            kind,
            "it is nested, and a feature is a single value: make a column of each value that is needed",
        ));
    }
    let (physical, info) = (field.get_physical_type(), field.get_basic_info());
    match (info.logical_type_ref(), info.converted_type(), physical) {
        (Some(LogicalType::Timestamp(time)), ..) if !time.is_adjusted_to_u_t_c => Err((
            "TIMESTAMP without a time zone".to_owned(),
            "say whose time it is and write it as UTC, in pandas: df[c] = df[c].dt.tz_localize('America/New_York').dt.tz_convert('UTC')",
        )),
        (Some(LogicalType::Timestamp(time)), ..) => Ok(Holds::Time(match time.unit {
            TimeUnit::MILLIS => Unit::Milli,
            TimeUnit::MICROS => Unit::Micro,
            TimeUnit::NANOS => Unit::Nano,
        })),
        (None, ConvertedType::TIMESTAMP_MILLIS, _) => Ok(Holds::Time(Unit::Milli)),
        (None, ConvertedType::TIMESTAMP_MICROS, _) => Ok(Holds::Time(Unit::Micro)),
        (.., Physical::INT96) => Err((
            "INT96, which does not say its time zone".to_owned(),
            "write it as a timestamp in UTC, in Spark: spark.sql.parquet.outputTimestampType = TIMESTAMP_MICROS",
        )),
        (Some(LogicalType::Date), ..) | (None, ConvertedType::DATE, _) => Ok(Holds::Date),
        (_, ConvertedType::INTERVAL, _) => {
            Err(("INTERVAL".to_owned(), "convert it to a number of one unit, such as seconds or days"))
        }
        (Some(LogicalType::Time(_)), ..) | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS, _) => {
            Err(("TIME".to_owned(), "convert it to text, or to a number of seconds since midnight"))
        }
        (Some(LogicalType::Uuid), ..) => {
            Err(("UUID".to_owned(), "convert it to text, in pandas: df[c] = df[c].astype(str)"))
        }
        (Some(LogicalType::Unknown), ..) => Ok(Holds::Plain),
        (Some(LogicalType::Decimal(_)), ..) | (None, ConvertedType::DECIMAL, _) => Ok(Holds::Plain),
        (Some(LogicalType::Float16), ..) => Ok(Holds::Plain),
        (Some(LogicalType::Integer(_)), _, Physical::INT32 | Physical::INT64) => Ok(Holds::Plain),
        (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _, Physical::BYTE_ARRAY) => {
            Ok(Holds::Plain)
        }
        (None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, Physical::BYTE_ARRAY) => {
            Ok(Holds::Plain)
        }
        (None, _, Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE) => {
            Ok(Holds::Plain)
        }
        (None, ConvertedType::NONE, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => Err((
            format!("{physical}, bytes that are not said to be text"),
            "convert it to text in UTF-8, in pandas: df[c] = df[c].str.decode('utf-8')",
        )),
        (Some(logical), ..) => Err((format!("{logical:?}"), CONVERT)),
        (None, converted, _) => Err((format!("{converted} ({physical})"), CONVERT)),
    }
}

const CONVERT: &str = "convert it to BOOLEAN, INT64, DOUBLE, DECIMAL, STRING or TIMESTAMP in UTC";

fn value(column: &Column, field: &Field) -> Result<Value, String> {
    let declared = column.declared;
    Ok(match (column.holds, field) {
        (_, Field::Null) => Value::Missing,
        (Holds::Time(unit), Field::Long(at) | Field::TimestampMillis(at) | Field::TimestampMicros(at)) => {
            time(unit, *at)?
        }
        (Holds::Date, Field::Date(days) | Field::Int(days)) => date(declared, *days)?,
        (_, Field::Bool(b)) => Value::Boolean(*b),
        (_, Field::Byte(i)) => Value::Integer((*i).into()),
        (_, Field::Short(i)) => Value::Integer((*i).into()),
        (_, Field::Int(i)) => Value::Integer((*i).into()),
        (_, Field::Long(i)) => Value::Integer(*i),
        (_, Field::UByte(i)) => Value::Integer((*i).into()),
        (_, Field::UShort(i)) => Value::Integer((*i).into()),
        (_, Field::UInt(i)) => Value::Integer((*i).into()),
        (_, Field::ULong(i)) => {
            Value::Integer(i64::try_from(*i).map_err(|_| format!("is {i}, more than an integer of 64 bits holds"))?)
        }
        // A missing number is NaN in the data frames that such files come from.
        (_, Field::Float16(x)) => number(declared, x.to_f64()),
        (_, Field::Float(x)) => number(declared, (*x).into()),
        (_, Field::Double(x)) => number(declared, *x),
        (_, Field::Str(text)) => Value::Text(text.clone()),
        // A text whose column says so in the newer of the two ways only.
        (_, Field::Bytes(bytes)) => {
            Value::Text(bytes.as_utf8().map_err(|_| "is not UTF-8; valid: text in UTF-8".to_owned())?.to_owned())
        }
        (_, Field::Decimal(decimal)) => {
            let scale = u32::try_from(decimal.scale()).ok().filter(|scale| *scale <= 38);
            let unscaled = unscaled(decimal.data()).zip(scale);
            let (unscaled, scale) = unscaled.ok_or("is a DECIMAL of more than 38 digits; convert it to DOUBLE")?;
            cells::of_decimal(declared, unscaled, scale)?
        }
        (_, other) => return Err(format!("holds {}; {CONVERT}", super::clip(&other.to_string()))),
    })
}

fn number(declared: ValueType, x: f64) -> Value {
    if x.is_nan() { Value::Missing } else { cells::of_number(declared, x) }
}

fn time(unit: Unit, at: i64) -> Result<Value, String> {
    let time = match unit {
        Unit::Milli => jiff::Timestamp::from_millisecond(at),
        Unit::Micro => jiff::Timestamp::from_microsecond(at),
        Unit::Nano => jiff::Timestamp::from_nanosecond(at.into()),
    };
    time.map(|time| Value::Text(time.to_string())).map_err(|_| format!("is {at}, a time outside of the calendar"))
}

fn date(declared: ValueType, days: i32) -> Result<Value, String> {
    if declared != ValueType::Text {
        return Err(format!(
            "is of type DATE, not {declared}; declare the column as text, or convert it to a number of days"
        ));
    }
    let span = jiff::Span::new().try_days(days);
    let date = span.and_then(|span| jiff::civil::date(1970, 1, 1).checked_add(span));
    date.map(|date| Value::Text(date.to_string())).map_err(|_| format!("is {days}, a date outside of the calendar"))
}

/// A big-endian number in two's complement.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let (padding, bytes) = bytes.split_at(bytes.len().saturating_sub(16));
    let fits = padding.iter().all(|byte| *byte == fill) && (padding.is_empty() || (bytes[0] & 0x80 != 0) == negative);
    let mut whole = [fill; 16];
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    fits.then(|| i128::from_be_bytes(whole))
}
