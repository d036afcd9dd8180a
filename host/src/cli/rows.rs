//! Rows of numbers from a file of examples: CSV, a JSON list of objects, or JSON lines.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;
use serin_core::numbers::counted;

use crate::features::ClosedQuotes;
use crate::files;

/// The largest JSON file that is read; it is in memory as a whole.
const MAX_JSON: u64 = 256 << 20;
/// What stands for no value in a CSV file, besides an empty cell. NumPy and pandas write them.
const NO_VALUE: [&str; 4] = ["nan", "na", "null", "none"];

/// A file of rows, whose columns are known.
pub(super) struct Source {
    path: PathBuf,
    columns: Vec<String>,
    form: Form,
}

enum Form {
    Csv,
    /// Objects, each with the place where it is.
    Json(Vec<(String, Object)>),
}

/// Rows taken from a file.
pub(super) struct Rows {
    /// The rows, one value a column that was asked for.
    pub rows: Vec<Vec<f64>>,
    /// How many there are in the file, without those that were left out.
    pub whole: u64,
    /// How many have no value in a column that was asked for.
    pub left_out: u64,
}

/// In the file's order: it is the columns' if none is asked for.
type Object = IndexMap<String, Value>;

/// A row: none if a value is missing.
type Take<'a> = &'a mut dyn FnMut(Option<Vec<f64>>);

impl Source {
    /// Opens a file, and reads what its columns are.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fail = |why: String| format!("{}: {why}", files::shown(path));
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (columns, form) = match &*extension {
            "json" => objects(path).map(of_objects),
            "jsonl" | "ndjson" => lines(path).map(of_objects),
            "csv" => open_csv(path).and_then(|mut csv| {
                let header = csv.headers().map_err(|e| broken(&e, 1))?;
                if header.is_empty() {
                    return Err("is empty; valid: a header of columns, and rows of numbers below it".to_owned());
                }
                Ok((header.iter().map(str::to_owned).collect(), Form::Csv))
            }),
            _ => Err("not a file of rows by its name; valid: .csv, .json, .jsonl".to_owned()),
        }
        .map_err(fail)?;
        Ok(Self { path: path.to_owned(), columns, form })
    }

    /// The file's columns: of objects, the first one's.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// At most `count` rows, spread evenly over the file. All rows are checked.
    pub fn spread(&self, inputs: &[String], count: usize, mut tell: impl FnMut(u64)) -> Result<Rows, String> {
        let (mut whole, mut left_out) = (0_u64, 0_u64);
        self.each(inputs, &mut |row| {
            match row {
                Some(_) => whole += 1,
                None => left_out += 1,
            }
            tell(whole);
        })?;
        if whole == 0 {
            let why = match left_out {
                0 => "no rows".to_owned(),
                _ => format!("each of its {left_out} rows has no value in one of {}", inputs.join(", ")),
            };
            return Err(format!("{}: {why}; at least one whole row is needed", files::shown(&self.path)));
        }
        let count = (count as u64).min(whole);
        let place = |nth: u64| if count == 1 { 0 } else { nth * (whole - 1) / (count - 1) };
        let (mut at, mut rows) = (0, Vec::new());
        self.each(inputs, &mut |row| {
            let Some(row) = row else { return };
            if (rows.len() as u64) < count && place(rows.len() as u64) == at {
                rows.push(row);
            }
            at += 1;
        })?;
        Ok(Rows { rows, whole, left_out })
    }

    fn each(&self, inputs: &[String], take: Take<'_>) -> Result<(), String> {
        let read = match &self.form {
            Form::Csv => self.each_line(inputs, take),
            Form::Json(objects) => objects.iter().try_for_each(|(place, object)| {
                let cells = inputs.iter().map(|input| number_of(object.get(input.as_str()), input));
                take(cells.collect::<Result<_, _>>().map_err(|why: String| format!("{place}: {why}"))?);
                Ok(())
            }),
        };
        read.map_err(|why| format!("{}: {why}", files::shown(&self.path)))
    }

    fn each_line(&self, inputs: &[String], take: Take<'_>) -> Result<(), String> {
        let place = |input: &String| self.columns.iter().position(|column| column == input).unwrap_or(usize::MAX);
        let places: Vec<usize> = inputs.iter().map(place).collect();
        let (mut csv, mut record) = (open_csv(&self.path)?, csv::StringRecord::new());
        // What is read below are the rows: without this, the first one would be where the header is.
        csv.headers().map_err(|error| broken(&error, 1))?;
        loop {
            let byte = csv.position().byte();
            let read = csv.read_record(&mut record);
            let line = csv.get_mut().line_of_row(byte);
            if !read.map_err(|error| broken(&error, line))? {
                break;
            }
            let cells = places.iter().zip(inputs).map(|(at, input)| number_in(record.get(*at).unwrap_or(""), input));
            take(cells.collect::<Result<_, _>>().map_err(|why: String| format!("line {line}: {why}"))?);
        }
        Ok(())
    }
}

/// What keeps a row of a CSV file from being read.
fn broken(error: &csv::Error, line: u64) -> String {
    match error.kind() {
        // Our own, of unclosed quotes, names its line.
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {}, and the header has {expected_len}", counted(*len, "field"))
        }
        _ => format!("line {line}: not UTF-8; valid: text in UTF-8"),
    }
}

fn open_csv(path: &Path) -> Result<csv::Reader<ClosedQuotes<std::fs::File>>, String> {
    let (file, _) = files::open_regular(path).map_err(plain)?;
    Ok(csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(ClosedQuotes::new(file)))
}

/// An error of the system in words.
fn plain(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "is not there: a file of rows that the model is to score".to_owned(),
        _ => error.to_string(),
    }
}

fn of_objects(objects: Vec<(String, Object)>) -> (Vec<String>, Form) {
    let columns = objects.first().map(|(_, first)| first.keys().cloned().collect()).unwrap_or_default();
    (columns, Form::Json(objects))
}

const OBJECTS: &str = r#"valid: objects of numbers, as [{"age": 41, "spend": 12.5}]"#;

fn objects(path: &Path) -> Result<Vec<(String, Object)>, String> {
    let bytes = files::read_bounded(path, MAX_JSON).map_err(plain)?;
    if bytes.trim_ascii().is_empty() {
        return Err(format!("is empty; {OBJECTS}"));
    }
    let rows: Vec<Object> = serde_json::from_slice(&bytes).map_err(|e| format!("{e}; {OBJECTS}"))?;
    Ok(rows.into_iter().enumerate().map(|(at, row)| (format!("row {at}"), row)).collect())
}

fn lines(path: &Path) -> Result<Vec<(String, Object)>, String> {
    let text = files::read_text(path, MAX_JSON).map_err(plain)?;
    if text.trim().is_empty() {
        return Err("is empty; valid: an object of numbers a line, as {\"age\": 41, \"spend\": 12.5}".to_owned());
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let place = format!("line {}", at + 1);
            serde_json::from_str(line)
                .map(|row| (place.clone(), row))
                .map_err(|e| format!("{place}: {e}; valid: an object of numbers, as {{\"age\": 41, \"spend\": 12.5}}"))
        })
        .collect()
}

fn number_in(cell: &str, input: &str) -> Result<Option<f64>, String> {
    if cell.is_empty() || NO_VALUE.iter().any(|none| cell.eq_ignore_ascii_case(none)) {
        return Ok(None);
    }
    let number = cell.parse().ok().filter(|number: &f64| number.is_finite());
    number.map(Some).ok_or_else(|| not_a_number(input, &format!("'{}'", cell.chars().take(40).collect::<String>())))
}

fn number_of(value: Option<&Value>, input: &str) -> Result<Option<f64>, String> {
    match value {
        None => Err(format!("no value of '{input}'; valid: a number, or null if it is unknown")),
        Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(Value::Bool(flag)) => Ok(Some(f64::from(u8::from(*flag)))),
        Some(other) => Err(not_a_number(input, &other.to_string().chars().take(40).collect::<String>())),
    }
}

fn not_a_number(input: &str, is: &str) -> String {
    format!(
        "column '{input}' is {is}; valid: a finite number, as 12.5; a model's inputs are numbers, texts are encoded as some"
    )
}
