//! Outcomes that an experiment measures and that nobody posts: probably a misspelt name, or one that
//! was renamed, and then a guardrail on it sees nothing.

/// An outcome's name of which none was posted for the experiment's kind of unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverPosted {
    /// The name in the spec.
    pub name: Box<str>,
    /// A name that was posted and resembles it.
    pub similar: Option<Box<str>>,
    /// It was posted before the experiment began, and not since.
    pub was_posted_before: bool,
}

impl NeverPosted {
    /// What is wrong, in a sentence.
    pub fn describe(&self) -> String {
        let similar = self.similar.as_ref().map(|similar| format!("; '{similar}' was: did you mean that?"));
        let similar = similar.unwrap_or_default();
        match self.was_posted_before {
            true => format!("no outcome '{}' was posted since the start{similar}", self.name),
            false => format!("no outcome '{}' was ever posted{similar}", self.name),
        }
    }
}
