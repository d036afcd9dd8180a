//! A strategy's project for any domain: which decision point, and which actions.

use serin_core::{NAME_RULE, is_name};

/// What a general strategy is about.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    /// The decision point.
    pub point: String,
    /// The actions; the first one is the careful one.
    pub actions: Vec<String>,
}

/// The most actions of a new project.
const MAX_ACTIONS: usize = 64;

/// Python's keywords: an action of such a name has a `_` behind it there.
const KEYWORDS: [&str; 32] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
    "return", "try", "while", "with", "yield",
];

impl Domain {
    /// The default of each where it is not given.
    ///
    /// # Errors
    /// What is no name, with what is valid.
    pub fn of(point: Option<String>, actions: Vec<String>) -> Result<Self, String> {
        let point = point.unwrap_or_else(|| "decide".to_owned());
        named("--decision-point", &point)?;
        let actions = if actions.is_empty() { vec!["nothing".to_owned(), "offer".to_owned()] } else { actions };
        for (at, action) in actions.iter().enumerate() {
            named("--actions", action)?;
            if action.chars().any(|c| c.is_ascii_uppercase()) {
                let valid = action.to_ascii_lowercase();
                return Err(format!("--actions: '{action}': a new project's actions are in lower case, like {valid}"));
            }
            let alike = |other: &&String| function(other) == function(action);
            if let Some(other) = actions[..at].iter().find(alike) {
                return Err(format!("--actions: '{other}' and '{action}' are one name in code; give each once"));
            }
        }
        if actions.len() > MAX_ACTIONS {
            return Err(format!("--actions: {} are given; at most {MAX_ACTIONS} are valid", actions.len()));
        }
        Ok(Self { point, actions })
    }

    /// The careful action: the fallback's, too.
    pub fn first(&self) -> &str {
        &self.actions[0]
    }

    /// A template's text with this domain's names.
    pub fn fill(&self, template: &str) -> String {
        let (first, second) = (self.first(), self.actions.get(1).map_or(self.first(), String::as_str));
        let lines: Vec<String> = self
            .actions
            .iter()
            .enumerate()
            .map(|(at, action)| match at {
                0 | 1 => format!("{action} = {{}}"),
                _ => format!("# {action} = {{}}   # take the # away when the strategy answers it"),
            })
            .collect();
        let names: Vec<String> = self.actions.iter().map(|action| format!("\"{action}\"")).collect();
        [
            ("ACTION_LINES", lines.join("\n")),
            ("ACTION_NAMES", names.join(", ")),
            ("FIRST_ACTION", first.to_owned()),
            ("SECOND_ACTION", second.to_owned()),
            ("FIRST_VARIANT", variant(first)),
            ("SECOND_VARIANT", variant(second)),
            ("FIRST_MEMBER", member(first)),
            ("SECOND_MEMBER", member(second)),
            ("FIRST_FUNCTION", function(first)),
            ("SECOND_FUNCTION", function(second)),
            ("POINT", self.point.clone()),
        ]
        .iter()
        .fold(template.to_owned(), |text, (token, value)| text.replace(token, value))
    }
}

/// Checks a name of an option.
///
/// # Errors
/// What is valid.
pub(super) fn named(option: &str, name: &str) -> Result<(), String> {
    if is_name(name) { Ok(()) } else { Err(format!("{option}: '{name}' is not a name; valid: {NAME_RULE}")) }
}

fn words(action: &str) -> impl Iterator<Item = &str> {
    action.split(['_', '-']).filter(|word| !word.is_empty())
}

/// The name of Rust's variant, as the SDK makes it.
fn variant(action: &str) -> String {
    words(action).map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// JavaScript's member of this name: `.offer`, or `["free-shipping"]`.
fn member(action: &str) -> String {
    if action.contains('-') { format!("[\"{action}\"]") } else { format!(".{action}") }
}

/// The name of Python's function.
fn function(action: &str) -> String {
    let name = words(action).collect::<Vec<_>>().join("_");
    if KEYWORDS.contains(&name.as_str()) { name + "_" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_that_the_sdks_give_them() {
        assert_eq!(variant("no_contact"), "NoContact");
        assert_eq!(variant("send-10-percent"), "Send10Percent");
        assert_eq!(function("send-10-percent"), "send_10_percent");
        assert_eq!(function("continue"), "continue_");
        assert_eq!((member("offer").as_str(), member("no-offer").as_str()), (".offer", "[\"no-offer\"]"));
    }

    #[test]
    fn what_is_no_domain_is_refused_with_what_is() {
        let of = |actions: &[&str]| Domain::of(None, actions.iter().map(|&action| action.to_owned()).collect());
        assert!(of(&["offer", "1st"]).expect_err("no name").contains("valid: a letter"));
        assert!(of(&["Offer"]).expect_err("upper case").contains("like offer"));
        assert!(of(&["a_b", "a-b"]).expect_err("one name").contains("give each once"));
        assert_eq!(of(&[]).expect("the default").actions, ["nothing", "offer"]);
    }
}
