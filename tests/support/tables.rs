//! Feature files.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A column of a Parquet file. A value that is none is null.
pub enum Column {
    /// `OPTIONAL BOOLEAN`
    Boolean(Vec<Option<bool>>),
    /// `OPTIONAL INT64`
    Integer(Vec<Option<i64>>),
    /// `OPTIONAL INT64 (TIMESTAMP_MILLIS)`
    Time(Vec<Option<i64>>),
    /// `OPTIONAL DOUBLE`
    Number(Vec<Option<f64>>),
    /// `OPTIONAL BYTE_ARRAY (UTF8)`
    Text(Vec<Option<&'static str>>),
    /// `OPTIONAL INT64`, annotated
    LongAs(&'static str, Vec<Option<i64>>),
    /// `OPTIONAL INT32`, annotated
    IntAs(&'static str, Vec<Option<i32>>),
    /// `OPTIONAL FIXED_LEN_BYTE_ARRAY`, of that length and annotated
    BytesAs(usize, &'static str, Vec<Option<Vec<u8>>>),
    /// `OPTIONAL INT96`
    Int96(Vec<Option<[u32; 3]>>),
}

impl Column {
    fn schema(&self, name: &str) -> String {
        match self {
            Self::Boolean(_) => format!("OPTIONAL BOOLEAN {name};"),
            Self::Integer(_) => format!("OPTIONAL INT64 {name};"),
            Self::Time(_) => format!("OPTIONAL INT64 {name} (TIMESTAMP_MILLIS);"),
            Self::Number(_) => format!("OPTIONAL DOUBLE {name};"),
            Self::Text(_) => format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"),
            Self::LongAs(kind, _) => format!("OPTIONAL INT64 {name} ({kind});"),
            Self::IntAs(kind, _) => format!("OPTIONAL INT32 {name} ({kind});"),
            Self::BytesAs(length, kind, _) => format!("OPTIONAL FIXED_LEN_BYTE_ARRAY ({length}) {name} ({kind});"),
            Self::Int96(_) => format!("OPTIONAL INT96 {name};"),
        }
    }
}

/// Present values, and the levels that say where they are.
fn split<T: Clone, U>(values: &[Option<T>], convert: impl Fn(T) -> U) -> (Vec<U>, Vec<i16>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (values.iter().flatten().cloned().map(convert).collect(), levels)
}

/// A Parquet file of these columns, in one row group.
pub fn parquet(columns: &[(&str, Column)]) -> Vec<u8> {
    compressed(Compression::UNCOMPRESSED, columns)
}

/// As [`parquet`], with its pages compressed.
pub fn compressed(compression: Compression, columns: &[(&str, Column)]) -> Vec<u8> {
    let fields: String = columns.iter().map(|(name, column)| column.schema(name)).collect();
    let schema = parse_message_type(&format!("message features {{ {fields} }}")).expect("a schema");
    let mut bytes = Vec::new();
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), properties).expect("a file");
    let mut group = file.next_row_group().expect("a row group");
    for (_, column) in columns {
        let mut writer = group.next_column().expect("writes").expect("as many columns as in the schema");
        let written = match (column, writer.untyped()) {
            (Column::Boolean(values), ColumnWriter::BoolColumnWriter(out)) => {
                let (values, levels) = split(values, |b| b);
                out.write_batch(&values, Some(&levels), None)
            }
            (
                Column::Integer(values) | Column::Time(values) | Column::LongAs(_, values),
                ColumnWriter::Int64ColumnWriter(out),
            ) => {
                let (values, levels) = split(values, |i| i);
                out.write_batch(&values, Some(&levels), None)
            }
            (Column::Number(values), ColumnWriter::DoubleColumnWriter(out)) => {
                let (values, levels) = split(values, |x| x);
                out.write_batch(&values, Some(&levels), None)
            }
            (Column::Text(values), ColumnWriter::ByteArrayColumnWriter(out)) => {
                let (values, levels) = split(values, ByteArray::from);
                out.write_batch(&values, Some(&levels), None)
            }
            (Column::IntAs(_, values), ColumnWriter::Int32ColumnWriter(out)) => {
                let (values, levels) = split(values, |i| i);
                out.write_batch(&values, Some(&levels), None)
            }
            (Column::BytesAs(_, _, values), ColumnWriter::FixedLenByteArrayColumnWriter(out)) => {
                let (values, levels) = split(values, FixedLenByteArray::from);
                out.write_batch(&values, Some(&levels), None)
            }
            (Column::Int96(values), ColumnWriter::Int96ColumnWriter(out)) => {
                let (values, levels) = split(values, |parts| Int96::from(parts.to_vec()));
                out.write_batch(&values, Some(&levels), None)
            }
            _ => unreachable!("the schema was made from the columns"),
        };
        written.expect("writes");
        writer.close().expect("closes");
    }
    group.close().expect("closes");
    file.close().expect("closes");
    bytes
}
