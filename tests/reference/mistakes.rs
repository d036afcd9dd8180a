//! The mistakes that people make with a key, and what each message has to have.

use super::document::Document;

/// A file with one mistake.
pub struct Mistake {
    /// What was done to the key.
    pub kind: &'static str,
    /// The table; empty for the keys before the first one.
    pub table: String,
    /// The key that was meant.
    pub key: String,
    /// The key as it is written.
    pub written: String,
    /// The line to be named; none where the mistake is that something is not there.
    pub line: Option<usize>,
    /// The file.
    pub file: Document,
}

/// What no message may have: names of this program's types, and words of its parsers.
const OURS: [&str; 10] =
    ["struct", "Raw", "usize", "u64", "f64", "i64", "expected a map", "invalid type", "sequence", "floating point"];

/// The mistakes with a key of `table` that `file` has.
pub fn of_key(file: &Document, table: &str, key: &str, value: &str, known: &[String]) -> Vec<Mistake> {
    let make = |kind, written: &str, file: Document| Mistake {
        kind,
        table: table.to_owned(),
        key: key.to_owned(),
        written: written.to_owned(),
        line: Some(file.line(table, written)),
        file,
    };
    let slips = slips(key).into_iter().filter(|(_, slip)| !known.contains(slip));
    let mut all: Vec<Mistake> =
        slips.map(|(kind, slip)| make(kind, &slip, file.clone().renamed(table, key, &slip))).collect();
    all.extend(others(value).into_iter().map(|(kind, other)| make(kind, key, file.clone().with(table, key, other))));
    all.push(make("doubled", key, file.clone().doubled(table, key)));
    all
}

/// A file that lacks a required key.
pub fn missing(file: &Document, table: &str, key: &str) -> Mistake {
    let file = file.clone().without(table, key);
    let line = Some(file.line(table, key));
    Mistake { kind: "missing", table: table.to_owned(), key: key.to_owned(), written: key.to_owned(), line, file }
}

/// The mistakes with the tables that begin with `root`.
pub fn of_tables(file: &Document, root: &str, known: &[String]) -> Vec<Mistake> {
    let make = |kind, written: &str, line, file: Document| Mistake {
        kind,
        table: String::new(),
        key: root.to_owned(),
        written: written.to_owned(),
        line: Some(line),
        file,
    };
    let slips = slips(root).into_iter().filter(|(_, slip)| !known.contains(slip));
    let mut all: Vec<Mistake> = slips
        .map(|(kind, slip)| make(kind, &slip, file.line_of_tables(root), file.clone().renamed_tables(root, &slip)))
        .collect();
    for (kind, other) in [("text for a table", "\"seven\""), ("number for a table", "7"), ("list for a table", "[7]")] {
        let file = file.clone().without_tables(root).with("", root, other);
        all.push(make(kind, root, file.line("", root), file));
    }
    all
}

/// Each way to write a key with one letter dropped, doubled, or swapped with the next.
fn slips(key: &str) -> Vec<(&'static str, String)> {
    let letters: Vec<char> = key.chars().collect();
    let mut all: Vec<(&str, String)> = Vec::new();
    for at in 0..letters.len() {
        let (mut dropped, mut twice, mut swapped) = (letters.clone(), letters.clone(), letters.clone());
        dropped.remove(at);
        twice.insert(at, letters[at]);
        swapped.swap(at, (at + 1).min(letters.len() - 1));
        for (kind, slip) in [("letter dropped", dropped), ("letter doubled", twice), ("letters swapped", swapped)] {
            let slip: String = slip.into_iter().collect();
            if slip != key && !slip.is_empty() && all.iter().all(|(_, known)| *known != slip) {
                all.push((kind, slip));
            }
        }
    }
    all
}

/// Values of other types than the example's.
fn others(value: &str) -> Vec<(&'static str, &'static str)> {
    let value: toml::Value = toml::from_str::<toml::Table>(&format!("x = {value}")).expect("an example")["x"].clone();
    match value {
        toml::Value::String(_) => {
            vec![("number for a text", "7"), ("table for a text", "{ a = 1 }"), ("list for a text", "[\"a\"]")]
        }
        toml::Value::Integer(_) => vec![
            ("text for a number", "\"seven\""),
            ("boolean for a number", "true"),
            ("table for a number", "{ a = 1 }"),
            ("list for a number", "[1]"),
        ],
        toml::Value::Float(_) => vec![
            ("text for a number", "\"seven\""),
            ("table for a number", "{ a = 1 }"),
            ("list for a number", "[1.0]"),
        ],
        toml::Value::Boolean(_) => {
            vec![("text for a boolean", "\"yes\""), ("number for a boolean", "1"), ("list for a boolean", "[true]")]
        }
        toml::Value::Array(_) => vec![
            ("text for a list", "\"a\""),
            ("number for a list", "7"),
            ("table for a list", "{ a = 1 }"),
            ("list of other items", "[[true]]"),
        ],
        _ => vec![
            ("text for a table", "\"seven\""),
            ("number for a table", "7"),
            ("list for a table", "[7]"),
            ("list for a table", "[\"none\"]"),
            ("empty list for a table", "[]"),
        ],
    }
}

impl Mistake {
    /// What the answer to this file lacks; none for a good message. `reads` says whether a text is
    /// TOML of the right types.
    pub fn lacks(&self, file: &str, answer: Result<String, String>, reads: impl Fn(&str) -> bool) -> Option<String> {
        let Err(message) = answer else { return Some("is accepted".to_owned()) };
        let mut lacks = Vec::new();
        if !message.starts_with(&format!("{file}: ")) {
            lacks.push("no file".to_owned());
        }
        let named = |line: usize| [",", ":"].into_iter().any(|end| message.contains(&format!("line {line}{end}")));
        if let Some(line) = self.line.filter(|line| !named(*line)) {
            lacks.push(format!("no line {line}"));
        }
        if !message.contains(&self.written) {
            lacks.push(format!("no key '{}'", self.written));
        }
        let words: Vec<&str> = message.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let ours = OURS.iter().filter(|ours| match ours.contains(' ') {
            true => message.contains(**ours),
            false => words.iter().any(|word| word == *ours || (**ours == "Raw" && word.starts_with("Raw"))),
        });
        lacks.extend(ours.map(|ours| format!("has '{ours}'")));
        lacks.extend(self.lacks_remedy(&message, reads));
        (!lacks.is_empty()).then(|| format!("{}: {message}", lacks.join(", ")))
    }

    /// A slip lists the right key; a doubled key says so; all else has what is valid, or an example
    /// that is.
    fn lacks_remedy(&self, message: &str, reads: impl Fn(&str) -> bool) -> Option<String> {
        if self.kind.starts_with("letter") {
            return (!message.contains(&format!("`{}`", self.key))).then(|| "the right key is not listed".to_owned());
        }
        if self.kind == "doubled" {
            return (!message.contains("duplicate key")).then(|| "does not say that it is doubled".to_owned());
        }
        let said = ["like ", "needs "].iter().find_map(|before| message.rsplit_once(before));
        let said = said.map(|(_, like)| like.trim());
        let Some(example) = said.and_then(|like| like.strip_prefix(&format!("{} = ", self.key))) else {
            let tells = ["valid: ", "like ", "add "].iter().any(|tells| message.contains(tells));
            return (!tells).then(|| "neither what is valid nor an example".to_owned());
        };
        let fixed = self.file.clone().with(&self.table, &self.key, example);
        (!reads(&fixed.text())).then(|| format!("its example is not valid: {example}"))
    }
}
