//! The tables of keys on a reference page.

/// A key as a page has it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The heading that its table stands under, without brackets and backticks.
    pub heading: String,
    /// The key.
    pub key: String,
    /// The default, as written.
    pub default: String,
    /// The example, as it is written after `=`.
    pub example: Option<String>,
}

impl Row {
    /// Whether a file needs it.
    pub fn is_required(&self) -> bool {
        self.default == "required"
    }

    /// The default as TOML; none if the page describes it in words.
    pub fn default_value(&self) -> Option<String> {
        let example = self.example.as_deref()?;
        let words = self.default.split([',', ';']).next().unwrap_or_default().trim();
        let quoted = words.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let is_text = example.starts_with('"');
        match (words, quoted) {
            ("0", _) if is_text => Some("\"0s\"".to_owned()),
            ("empty", _) => Some(if is_text { "\"\"" } else { "{}" }.to_owned()),
            // Keywords stand without quotes.
            (_, Some(text)) if is_text && !text.starts_with('"') => Some(format!("\"{text}\"")),
            (_, Some(text)) if !text.contains('_') || text.starts_with('"') => Some(text.to_owned()),
            (number, None) if number.parse::<f64>().is_ok() => Some(number.to_owned()),
            _ => None,
        }
    }
}

/// The keys of all tables whose first column is called `key`, and that have examples.
pub fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut heading, mut columns) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = plain(title.trim_start_matches('#').trim());
        }
        let Some(cells) = cells(line) else {
            columns.clear();
            continue;
        };
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        let cell = |name: &str| Some(cells.get(columns.iter().position(|column| column == name)?)?.clone());
        let (Some(keys), Some(default), Some(example)) = (cell("key"), cell("default"), cell("example")) else {
            continue;
        };
        let quoted = |cell: &str| cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
        rows.extend(keys.split('`').skip(1).step_by(2).map(|key| Row {
            heading: heading.clone(),
            key: plain(key),
            default: default.clone(),
            example: quoted(&example),
        }));
    }
    rows
}

/// The names in the first column of the table that begins with `first`.
pub fn first_column(page: &str, first: &str) -> Vec<String> {
    let mut lines = page.lines().filter_map(cells).skip_while(|row| row[0] != first).skip(2);
    let rows = std::iter::from_fn(|| lines.next().filter(|row| row[0].starts_with('`')));
    rows.map(|row| plain(&row[0])).collect()
}

/// The blocks of TOML.
pub fn blocks(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// A text without backticks, and without the brackets of a table's head.
fn plain(text: &str) -> String {
    text.replace('`', "").trim_matches(['[', ']']).to_owned()
}
