//! The tables of ARCHITECTURE.md, as rules to hold the source to.

/// A row's cells.
pub type Row = Vec<String>;

/// The rows of the table whose first column is called `first`.
pub fn table(first: &str) -> Vec<Row> {
    let document = super::read("ARCHITECTURE.md");
    let cells = |line: &str| -> Option<Row> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
    };
    let mut lines = document.lines().skip_while(|line| cells(line).is_none_or(|row| row[0] != first));
    let heads = lines.next().and_then(cells).unwrap_or_else(|| panic!("ARCHITECTURE.md has no table of '{first}'"));
    let rows: Vec<Row> = lines.skip(1).map_while(cells).collect();
    assert!(rows.iter().all(|row| row.len() == heads.len()), "the table of '{first}' has rows of another width");
    assert!(!rows.is_empty(), "the table of '{first}' is empty");
    rows
}

/// The words between backticks.
pub fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
