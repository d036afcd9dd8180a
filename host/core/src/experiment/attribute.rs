//! Attributes of a unit at its entry, for covariates, segments and groups.

use crate::manifest::CONTEXT_VIEW;
use crate::{NAME_RULE, Name, is_name};

/// A column of a feature view, or a key of the request's context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute {
    /// The view; `context` for the request's context.
    pub view: Name,
    /// The column or the key.
    pub name: Name,
}

impl Attribute {
    /// Parses `features.VIEW.NAME` or `context.NAME`.
    ///
    /// # Errors
    /// What is wrong, and what is valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let valid = "valid: features.VIEW.NAME or context.NAME";
        let parts: Vec<&str> = text.split('.').collect();
        let (view, name) = match parts[..] {
            ["context", name] => (CONTEXT_VIEW, name),
            ["features", view, name] => (view, name),
            _ => return Err(format!("\"{text}\"; {valid}")),
        };
        match [view, name].into_iter().find(|part| !is_name(part)) {
            Some(part) => Err(format!("\"{text}\": '{part}' is not a name ({NAME_RULE}); {valid}")),
            None => Ok(Self { view: view.into(), name: name.into() }),
        }
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self.view == *CONTEXT_VIEW {
            write!(f, "context.{}", self.name)
        } else {
            write!(f, "features.{}.{}", self.view, self.name)
        }
    }
}
