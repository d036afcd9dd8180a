//! CSV files. CSV has no types: each cell is read as the view declares its column. An empty cell is
//! null.

use std::fs::File;

use indexmap::IndexMap;
use serin_core::value::{Value, ValueType};

use super::cells;
use super::file_rows::{Columns, FileRow, LoadOptions, RowError};
use super::quotes::ClosedQuotes;
use crate::deployment::ViewSpec;

pub(super) struct CsvRows<'a> {
    reader: csv::Reader<ClosedQuotes<File>>,
    header: Vec<String>,
    types: Vec<ValueType>,
    options: &'a LoadOptions,
    record: csv::StringRecord,
    /// Where the record begins.
    line: u64,
}

impl<'a> CsvRows<'a> {
    pub fn open(file: File, spec: &ViewSpec, options: &'a LoadOptions) -> Result<(Self, Columns), String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(ClosedQuotes::new(file));
        let header: Vec<String> = reader.headers().map_err(|e| plain(&e))?.iter().map(str::to_owned).collect();
        let columns = Columns::check(spec, header.iter().map(String::as_str))?;
        let types =
            header.iter().map(|column| spec.columns.get(column.as_str()).copied().unwrap_or(ValueType::Text)).collect();
        Ok((Self { reader, header, types, options, record: csv::StringRecord::new(), line: 1 }, columns))
    }

    fn row(&self) -> Result<FileRow, String> {
        let line = Some(self.line);
        let mut values = IndexMap::with_capacity(self.header.len());
        for ((column, declared), cell) in self.header.iter().zip(&self.types).zip(&self.record) {
            let value = match cell {
                "" => Value::Missing,
                cell if self.options.is_null(cell) => Value::Missing,
                cell => cells::of_text(*declared, cell).map_err(|why| format!("column '{column}': {why}"))?,
            };
            values.insert(column.clone(), value);
        }
        Ok(FileRow { line, values })
    }
}

impl Iterator for CsvRows<'_> {
    type Item = Result<FileRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let byte = self.reader.position().byte();
        let read = self.reader.read_record(&mut self.record);
        self.line = self.reader.get_mut().line_of_row(byte);
        match read {
            Ok(false) => None,
            Ok(true) => Some(self.row().map_err(|why| (Some(self.line), why))),
            // Its own words name the line of an unclosed quote.
            Err(error) if error.is_io_error() => Some(Err((None, plain(&error)))),
            Err(error) => Some(Err((Some(self.line), plain(&error)))),
        }
    }
}

/// An error in words. Our own, of unclosed quotes, is as it is, and names its line.
fn plain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, and the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("field {}: not UTF-8; valid: text in UTF-8", err.field() + 1),
        _ => error.to_string(),
    }
}
