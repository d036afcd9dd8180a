//! Finds the line of a value that TOML's grammar allows and this program does not.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The message, prefixed with the line of the key that it begins with if the file has that key.
pub(super) fn located(text: &str, why: String) -> String {
    match line(text, &why) {
        Some(line) => format!("line {line}: {why}"),
        None => why,
    }
}

/// The line of the last part of `why`'s key that is written in the file, counted from 1.
fn line(text: &str, why: &str) -> Option<usize> {
    let file = DeTable::parse(text).ok()?;
    let (mut table, mut rest, mut start) = (file.get_ref(), why, None);
    // Names may have dots, so the longest key that the message continues with is the one.
    while let Some((key, value, after)) = longest(table, rest) {
        start = Some(key.span().start);
        let (value, after) = match element(value, after) {
            Some((element, after)) => {
                start = Some(element.span().start);
                (element.get_ref(), after)
            }
            None => (value, after),
        };
        match (value, after.strip_prefix('.')) {
            (DeValue::Table(inner), Some(after)) => (table, rest) = (inner, after),
            _ => break,
        }
    }
    Some(text.get(..start?)?.matches('\n').count() + 1)
}

/// The element of a list that `after` begins with the place of, like `[2]`, and what follows that.
fn element<'t, 'i, 'w>(value: &'t DeValue<'i>, after: &'w str) -> Option<(&'t Spanned<DeValue<'i>>, &'w str)> {
    let DeValue::Array(list) = value else { return None };
    let (at, after) = after.strip_prefix('[')?.split_once(']')?;
    Some((list.get(at.parse::<usize>().ok()?)?, after))
}

/// The longest key of `table` that `why` begins with, its value, and what follows the key.
fn longest<'t, 'i, 'w>(
    table: &'t DeTable<'i>,
    why: &'w str,
) -> Option<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t DeValue<'i>, &'w str)> {
    let found = table.iter().filter_map(|(key, value)| {
        let name = key.get_ref();
        let after = why.strip_prefix(&format!("\"{name}\"")).or_else(|| why.strip_prefix(&**name))?;
        let is_whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
        is_whole.then_some((key, value.get_ref(), after))
    });
    found.max_by_key(|(key, ..)| key.get_ref().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_line_of_the_key_that_it_begins_with() {
        let text = "[server]\nlisten = \"a\"\nqueue = 0\n\n[models.churn.\"1.0\"]\npath = \"m\"\n\n\
                    [decision_points.offers-2]\ncontext = { days = \"int\",\n  channel = \"txt\" }\n\
                    fallback.action = \"none\"\n\n[[access.tokens]]\nname = \"a\"\n[[access.tokens]]\nname = \"b\"\n";
        for (why, line) in [
            ("server.queue = 0; valid: 1 to 5", Some(3)),
            ("server.listen = \"a\" and server.admin = \"b\"", Some(2)),
            // A key that is not written is located by its table.
            ("server.queues = 0", Some(1)),
            ("models.churn.\"1.0\": not a version", Some(5)),
            ("decision_points.offers-2: entities", Some(8)),
            ("decision_points.offers: entities", Some(8)),
            ("decision_points.offers-2.context.channel = \"txt\"", Some(10)),
            ("decision_points.offers-2.fallback.action = \"none\"", Some(11)),
            ("access.tokens[1].name = \"b\"", Some(16)),
            ("access.tokens[1].roles: none", Some(15)),
            ("access.tokens[7].roles: none", Some(13)),
            ("no decision points; add one", None),
        ] {
            assert_eq!(super::line(text, why), line, "{why}");
        }
        assert_eq!(located("a = 1", "b = 2".to_owned()), "b = 2");
        assert_eq!(located("a = 1", "a = 1; valid: 2".to_owned()), "line 1: a = 1; valid: 2");
    }
}
