//! Syntax errors of expressions in plain words: the parser names the tokens of its grammar.

use cel::parser::ParseErrors;

/// The first mistake, with its place.
pub(super) fn in_words(errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.iter().min_by_key(|error| error.pos) else { return "is no expression".to_owned() };
    let place = match first.pos {
        (..=1, column) => format!("at character {}", column.max(1)),
        (line, column) => format!("at line {line}, character {}", column.max(1)),
    };
    let why = first.msg.trim_start_matches("Syntax error: ");
    // Each names what it met in quotes, with what it expected behind it.
    let met = |start: &str| {
        let rest = why.strip_prefix(start)?.strip_prefix('\'')?;
        let end = rest.find("' expecting").or_else(|| rest.rfind('\''))?;
        Some(&rest[..end])
    };
    let unexpected = ["mismatched input ", "extraneous input ", "no viable alternative at input "];
    if let Some(met) = unexpected.iter().find_map(|start| met(start)) {
        return match met.ends_with("<EOF>") {
            true => format!("does not parse: it ends {place}, where something is still missing"),
            false => format!("does not parse: '{met}' {place} is not expected there"),
        };
    }
    if let Some(met) = met("token recognition error at: ") {
        return format!("does not parse: '{met}' {place} is no part of an expression; a text is in quotes, like \"x\"");
    }
    if let Some((missing, at)) = why.strip_prefix("missing ").and_then(|rest| rest.split_once(" at ")) {
        let before = if at == "'<EOF>'" { "the end".to_owned() } else { at.to_owned() };
        return format!("does not parse: {missing} is missing before {before}, {place}");
    }
    format!("does not parse: {why}, {place}")
}
