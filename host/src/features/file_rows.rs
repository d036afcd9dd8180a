//! What the readers of all kinds of feature files share: how a file is read, its columns, its rows.

use indexmap::IndexMap;
use serin_core::value::Value;
use serin_core::{Name, most_similar};

use crate::deployment::ViewSpec;

/// How a file is read.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The time now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Texts that stand for null.
    pub null: Vec<String>,
}

impl LoadOptions {
    /// Says whether a text stands for null.
    pub(super) fn is_null(&self, text: &str) -> bool {
        self.null.iter().any(|null| null == text)
    }
}

/// The line, in a file that has lines, and what is wrong there.
pub(super) type RowError = (Option<u64>, String);

/// A row as the file has it, its values of the declared types where the file's allow that.
pub(super) struct FileRow {
    pub line: Option<u64>,
    pub values: IndexMap<String, Value>,
}

/// The columns that every feature file has.
const REQUIRED: [&str; 2] = ["entity", "event_time"];

/// A column that a file has and the view has not.
fn unknown(spec: &ViewSpec, column: &str) -> String {
    let valid: Vec<&str> = REQUIRED.into_iter().chain(spec.columns.keys().map(|column| &**column)).collect();
    let similar = most_similar(column, valid.iter().copied());
    let similar = similar.map(|similar| format!("; did you mean '{similar}'?")).unwrap_or_default();
    format!("column '{}' is not of view '{}'{similar}; valid: {}", super::clip(column), spec.name, valid.join(", "))
}

/// A file's columns, checked.
pub(super) struct Columns {
    /// Those of the view that are not among them.
    pub without: Vec<Name>,
}

impl Columns {
    /// Checks a file's columns, whether or not a row follows.
    pub fn check<'a>(spec: &ViewSpec, columns: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut seen: Vec<&str> = Vec::new();
        for column in columns {
            if seen.contains(&column) {
                return Err(format!("column '{}' is there twice", super::clip(column)));
            }
            if !REQUIRED.contains(&column) && !spec.columns.contains_key(column) {
                return Err(unknown(spec, column));
            }
            seen.push(column);
        }
        match REQUIRED.iter().find(|required| !seen.contains(*required)) {
            Some(missing) => {
                Err(format!("no column '{missing}'; a feature file has entity, event_time and the view's columns"))
            }
            None => Ok(Self {
                without: spec.columns.keys().filter(|column| !seen.contains(&&***column)).cloned().collect(),
            }),
        }
    }
}
