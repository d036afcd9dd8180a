//! Finds the line of a mistake that TOML's grammar cannot locate, so that the message has a line
//! number.

/// The message, prefixed with the line that it is about if that can be determined.
pub(super) fn located(text: &str, why: String) -> String {
    match line(text, &why) {
        Some(line) => format!("line {line}: {why}"),
        None => why,
    }
}

/// Lines are counted from 1.
fn line(text: &str, why: &str) -> Option<usize> {
    let subject: String = why.chars().take_while(|c| !matches!(c, '=' | '"' | ';')).collect();
    // "metric 'x': window: …", "guardrail on 'x': alpha = …", "fairness on 'x': …"
    for (start, table, key) in [
        ("metric '", "metrics", "name"),
        ("guardrail on '", "guardrails", "metric"),
        ("fairness on '", "fairness", "attribute"),
    ] {
        if let Some((name, rest)) = why.strip_prefix(start).and_then(|rest| rest.split_once('\'')) {
            let of_name = |block: &Block<'_>| block.value(key).is_some_and(|value| value.trim_matches('"') == name);
            let block = blocks(text, table).into_iter().find(of_name)?;
            return Some(block.line_of(first_key(rest.trim_start_matches([':', ' ']))));
        }
    }
    // "arms[1] 'b': …", "arms[1].name = …", "ramp[0].coverage = …", "notify[0].url = …"
    if let Some((table, rest)) = subject.split_once('[')
        && let Some((position, rest)) = rest.split_once(']')
    {
        let position: usize = position.parse().ok()?;
        return match blocks(text, table.trim()).get(position) {
            Some(block) => Some(block.line_of(first_key(rest.trim_start_matches('.')))),
            None => top(text, table.trim()),
        };
    }
    top(text, first_key(&subject))
}

/// The key at the start of a message.
fn first_key(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The key of a line `key = …`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    Some(key.trim()).filter(|key| !key.is_empty() && !key.starts_with('#'))
}

/// A table's lines, with their numbers.
struct Block<'t> {
    lines: Vec<(usize, &'t str)>,
}

impl Block<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        let line = self.lines.iter().find(|(_, line)| key_of(line) == Some(key))?;
        Some(line.1.split_once('=')?.1.split('#').next()?.trim())
    }

    /// The line of a key, or of the table's head if the key is missing.
    fn line_of(&self, key: &str) -> usize {
        let known = self.lines.iter().find(|(_, line)| key_of(line) == Some(key));
        known.or(self.lines.first()).map_or(1, |(line, _)| *line)
    }
}

fn blocks<'t>(text: &'t str, table: &str) -> Vec<Block<'t>> {
    let header = format!("[[{table}]]");
    let mut blocks: Vec<Block<'t>> = Vec::new();
    let mut is_in = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('[') {
            is_in = line.trim_start().starts_with(&header);
            if is_in {
                blocks.push(Block { lines: Vec::new() });
            }
        }
        if let Some(block) = blocks.last_mut().filter(|_| is_in) {
            block.lines.push((number, line));
        }
    }
    blocks
}

/// The line of a key before the first table.
fn top(text: &str, key: &str) -> Option<usize> {
    let lines = (1..).zip(text.lines()).take_while(|(_, line)| !line.trim_start().starts_with("[["));
    lines.into_iter().find(|(_, line)| !key.is_empty() && key_of(line) == Some(key)).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use crate::experiment::Experiment;

    const SPEC: &str = "id = \"e\"\ndecision_point = \"d\"\ncoverage = 0.2\nholdback = 0.1\n\n\
        [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n\n\
        [[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5   # half\n\n\
        [[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\n\n\
        [[metrics]]\nname = \"n\"\nrole = \"goal\"\noutcome = \"paid\"\nwindow = \"14d\"\nalpha = 0.05\n\n\
        [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\nmin_units = 50\n";

    #[test]
    fn a_mistake_is_named_with_its_line() {
        assert!(Experiment::parse(SPEC).is_ok());
        for (from, to, line) in [
            ("coverage = 0.2", "coverage = 1.2", 3),
            ("holdback = 0.1", "holdback = 0.9", 4),
            ("q@1.1.0", "q@1", 13),
            ("weight = 0.5   # half", "weight = 1.5", 11),
            ("alpha = 0.05", "alpha = 0.9", 27),
            ("outcome = \"paid\"\nwindow = \"14d\"", "outcome = \"paid\"", 22),
            ("max_increase = 0.01", "max_increase = -1.0", 31),
            ("role = \"goal\"\noutcome = \"cured\"", "role = \"gaol\"\noutcome = \"cured\"", 18),
        ] {
            let error = Experiment::parse(&SPEC.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with(&format!("line {line}: ")), "{to}: {error}");
        }
        // Messages of the TOML parser already show where.
        let unknown = Experiment::parse(&SPEC.replace("coverage", "coverge")).expect_err("unknown");
        assert!(unknown.contains("line 3, column 1"), "{unknown}");
    }
}
