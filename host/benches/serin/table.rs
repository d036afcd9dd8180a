//! The table: on the terminal, and as JSON for whoever compares runs.

use std::path::Path;

use serde_json::json;

/// A bound that a row is held to.
#[derive(Clone, Copy)]
enum Target {
    ValueAtMost(f64),
    ValueAtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

/// One measurement.
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    baseline: Option<(String, f64)>,
    ratio: Option<f64>,
    target: Option<Target>,
}

impl Row {
    /// A measurement by itself.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, baseline: None, ratio: None, target: None }
    }

    /// What it is compared with, in the same unit.
    pub fn against(mut self, what: impl Into<String>, value: f64) -> Self {
        self.ratio = Some(self.value / value);
        self.baseline = Some((what.into(), value));
        self
    }

    /// A ratio that was taken round by round, in place of the medians' ratio.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// The value may be at most this.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.target = Some(Target::ValueAtMost(bound));
        self
    }

    /// The value has to be at least this.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.target = Some(Target::ValueAtLeast(bound));
        self
    }

    /// The ratio may be at most this.
    pub fn ratio_at_most(mut self, bound: f64) -> Self {
        self.target = Some(Target::RatioAtMost(bound));
        self
    }

    /// The ratio has to be at least this.
    pub fn ratio_at_least(mut self, bound: f64) -> Self {
        self.target = Some(Target::RatioAtLeast(bound));
        self
    }

    fn is_met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::ValueAtMost(bound) => self.value <= bound,
            Target::ValueAtLeast(bound) => self.value >= bound,
            Target::RatioAtMost(bound) => self.ratio? <= bound,
            Target::RatioAtLeast(bound) => self.ratio? >= bound,
        })
    }

    fn verdict(&self) -> String {
        let target = match self.target {
            None => return String::new(),
            Some(Target::ValueAtMost(bound)) => format!("<= {} {}", short(bound), self.unit),
            Some(Target::ValueAtLeast(bound)) => format!(">= {} {}", short(bound), self.unit),
            Some(Target::RatioAtMost(bound)) => format!("<= {bound:.2} x"),
            Some(Target::RatioAtLeast(bound)) => format!(">= {bound:.2} x"),
        };
        format!("{target} {}", if self.is_met() == Some(true) { "ok" } else { "MISSED" })
    }
}

/// All rows, by section.
#[derive(Default)]
pub struct Table {
    sections: Vec<(String, Vec<Row>)>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a section.
    pub fn section(&mut self, title: impl Into<String>, rows: Vec<Row>) {
        self.sections.push((title.into(), rows));
    }

    /// Adds a sentence below the table: how a row was come by.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The names of the rows whose target is missed.
    pub fn missed(&self) -> Vec<&str> {
        self.rows().filter(|row| row.is_met() == Some(false)).map(|row| row.what.as_str()).collect()
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|(_, rows)| rows)
    }

    /// Prints the table.
    pub fn print(&self) {
        let width = self.rows().map(|row| row.what.chars().count()).max().unwrap_or(0);
        let baseline =
            |row: &Row| row.baseline.as_ref().map_or_else(String::new, |(w, v)| format!("{} {w}", short(*v)));
        let against = self.rows().map(|row| baseline(row).chars().count()).max().unwrap_or(0).max(8);
        println!("\n{:<width$}  {:>16}  {:<against$}  {:>7}  TARGET", "", "MEASURED", "BASELINE", "RATIO");
        for (title, rows) in &self.sections {
            println!("{title}");
            for row in rows {
                let measured = format!("{} {}", short(row.value), row.unit);
                let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} x"));
                let line = format!(
                    "{:<width$}  {measured:>16}  {:<against$}  {ratio:>7}  {}",
                    row.what,
                    baseline(row),
                    row.verdict()
                );
                println!("{}", line.trim_end());
            }
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// Writes the table as JSON.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let row = |section: &str, row: &Row| {
            let target = row.target.map(|target| {
                let (of, is, bound) = match target {
                    Target::ValueAtMost(bound) => ("value", "at_most", bound),
                    Target::ValueAtLeast(bound) => ("value", "at_least", bound),
                    Target::RatioAtMost(bound) => ("ratio", "at_most", bound),
                    Target::RatioAtLeast(bound) => ("ratio", "at_least", bound),
                };
                json!({ "of": of, is: bound, "met": row.is_met() })
            });
            json!({
                "section": section, "what": row.what, "value": row.value, "unit": row.unit, "ratio": row.ratio,
                "baseline": row.baseline.as_ref().map(|(what, value)| json!({ "what": what, "value": value })),
                "target": target,
            })
        };
        let rows: Vec<_> = self.sections.iter().flat_map(|(s, rows)| rows.iter().map(move |r| row(s, r))).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let text = serde_json::to_string_pretty(&json!({ "cores": cores, "rows": rows, "notes": self.notes }))?;
        std::fs::write(path, text + "\n")
    }
}

/// Three or four significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
