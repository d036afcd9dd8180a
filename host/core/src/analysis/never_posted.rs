//! Outcomes that an experiment measures and that the ledger has never seen: probably a misspelt
//! name, and then a guardrail on it sees nothing.

/// An outcome's name of which none was ever posted for the experiment's kind of unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverPosted {
    /// The name in the spec.
    pub name: Box<str>,
    /// A name that was posted, and resembles it.
    pub similar: Option<Box<str>>,
}

impl NeverPosted {
    /// What is wrong, in a sentence.
    pub fn describe(&self) -> String {
        let similar = self.similar.as_ref().map(|similar| format!("; '{similar}' was: did you mean that?"));
        format!("no outcome '{}' was ever posted{}", self.name, similar.unwrap_or_default())
    }
}
