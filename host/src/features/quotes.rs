//! CSV text whose quotes are closed, and whose rows know their lines. CSV parsers take everything behind
//! an unclosed quote for one cell: the rest of the file would be gone, without an error. And a parser names
//! the line of a row before it has passed the end of the line above: with CRLF, or behind empty lines, that
//! is another one.

use std::collections::VecDeque;
use std::io::{self, Read};

use serin_core::value::MAX_TEXT_BYTES;

/// Passes CSV text on, and fails with the line where a quoted cell does not end as one, or is longer
/// than any cell may be.
pub struct ClosedQuotes<R> {
    inner: R,
    at: At,
    line: u64,
    opened: u64,
    length: usize,
    begun: usize,
    /// Bytes passed on.
    passed: u64,
    is_between_rows: bool,
    /// Rows that are not asked about yet: the byte and the line where each begins.
    rows: VecDeque<(u64, u64)>,
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    CellStart,
    Cell,
    Quoted,
    /// Behind a quote inside a quoted cell: its end, or half of a quote that is written twice.
    Quote,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl<R: Read> ClosedQuotes<R> {
    /// Watches `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            at: At::CellStart,
            line: 1,
            opened: 0,
            length: 0,
            begun: 0,
            passed: 0,
            is_between_rows: true,
            rows: VecDeque::new(),
            failure: None,
        }
    }

    /// The line of the first row that begins at this byte or behind it. Rows before it are forgotten.
    pub fn line_of_row(&mut self, byte: u64) -> u64 {
        while self.rows.front().is_some_and(|(begins, _)| *begins < byte) {
            self.rows.pop_front();
        }
        self.rows.front().map_or(self.line, |(_, line)| *line)
    }

    fn note_row(&mut self, byte: u8) {
        let is_end = matches!(byte, b'\n' | b'\r') && !matches!(self.at, At::Quoted);
        if self.is_between_rows && !is_end {
            self.rows.push_back((self.passed, self.line));
        }
        self.is_between_rows = is_end;
    }

    /// Takes the next byte; says whether all is well so far.
    fn step(&mut self, byte: u8) -> Result<(), String> {
        self.note_row(byte);
        self.passed += 1;
        let begun = self.begun;
        self.begun = begun.saturating_add(1);
        // A byte order mark stands before the first cell.
        if begun < BOM.len() && self.at == At::CellStart && BOM[begun] == byte {
            return Ok(());
        }
        self.begun = BOM.len();
        self.length += 1;
        self.at = match (self.at, byte) {
            (At::CellStart, b'"') => {
                self.opened = self.line;
                At::Quoted
            }
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::Quote, b'"') => At::Quoted,
            (_, b',' | b'\n' | b'\r') => At::CellStart,
            (At::Quote, _) => {
                return Err(format!(
                    "line {}: the quote that line {} opens ends in the middle of a cell; valid: \"…\" around the whole cell, and \"\" for a quote inside",
                    self.line, self.opened
                ));
            }
            (At::CellStart | At::Cell, _) => At::Cell,
        };
        if self.at == At::CellStart {
            self.length = 0;
        }
        // Each byte may be written as two; then the quotes around it.
        if self.length > 2 * MAX_TEXT_BYTES + 2 {
            let quoted = matches!(self.at, At::Quoted | At::Quote);
            let line = if quoted { self.opened } else { self.line };
            let hint = if quoted { "; a quote that is not closed?" } else { "" };
            return Err(format!("line {line}: a cell is longer than {MAX_TEXT_BYTES} bytes{hint}"));
        }
        if byte == b'\n' {
            self.line += 1;
        }
        Ok(())
    }
}

impl<R: Read> Read for ClosedQuotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure.clone()));
        }
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() && self.at == At::Quoted {
            let failure = format!("line {}: a quote is opened and never closed", self.opened);
            self.failure = Some(failure.clone());
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure));
        }
        for (place, byte) in buffer[..count].iter().enumerate() {
            if let Err(failure) = self.step(*byte) {
                self.failure = Some(failure);
                // What stands before it is good; the next read fails.
                return if place > 0 { Ok(place) } else { self.read(buffer) };
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mut out = String::new();
        // One byte at a time: nothing may depend on where a block ends.
        struct Slowly<'a>(&'a [u8]);
        impl Read for Slowly<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&mut self.0).take(1).read(buffer)
            }
        }
        let whole = ClosedQuotes::new(text.as_bytes()).read_to_string(&mut String::new()).map_err(|e| e.to_string());
        let slow = ClosedQuotes::new(Slowly(text.as_bytes())).read_to_string(&mut out).map_err(|e| e.to_string());
        assert_eq!(whole, slow, "{text}");
        slow.map(|_| out)
    }

    #[test]
    fn good_text_passes_as_it_is() {
        for text in [
            "",
            "a,b\n1,2\n",
            "\u{feff}\"a\",b\r\n\"1\",\"two\nlines, and a \"\"quote\"\"\"\r\n",
            "a,5\" pipe,it\"s\n",
            "\"\",\"\"",
            "\"last\"",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_row_knows_its_line_with_any_ends_of_lines() {
        for (text, lines) in [
            ("a,b\n1,2\n3,4\n", vec![2, 3]),
            ("a,b\r\n1,2\r\n3,4\r\n", vec![2, 3]),
            ("\u{feff}a\r\n1\r\n\r\n\r\n3", vec![2, 5]),
            ("a\n\"two\r\nlines\"\r\n3\n", vec![2, 4]),
        ] {
            let mut reader = csv::Reader::from_reader(ClosedQuotes::new(text.as_bytes()));
            reader.headers().expect("a header");
            let mut record = csv::StringRecord::new();
            let mut found = Vec::new();
            loop {
                let byte = reader.position().byte();
                if !reader.read_record(&mut record).expect("good text") {
                    break;
                }
                found.push(reader.get_mut().line_of_row(byte));
            }
            assert_eq!(found, lines, "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_with_its_cell_is_named_by_its_line() {
        for (text, needle) in [
            ("a,b\n1,2\n3,\"x\n4,5\n", "line 3: a quote is opened and never closed"),
            ("a,b\n1,\"x\n2,\"y\"\n", "line 3: the quote that line 2 opens"),
            ("a\n\"x\"y\n", "line 2: the quote that line 2 opens"),
            ("a\n\"", "line 2"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(needle), "{error}");
        }
        let long = format!("a\n1\n\"{}", "x\n".repeat(MAX_TEXT_BYTES * 2));
        assert!(read(&long).expect_err("too long").contains("line 3: a cell is longer than 4096 bytes; a quote"));
        assert!(read(&"x".repeat(3 * MAX_TEXT_BYTES)).expect_err("too long").starts_with("line 1: a cell"));
    }
}
