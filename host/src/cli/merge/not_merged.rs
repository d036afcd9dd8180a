//! Why a component stays as it is.

/// What the linker does not know of a component's shape.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(in crate::cli) struct NotMerged(String);

impl NotMerged {
    /// The linker does not know `what`.
    pub fn unknown(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<wasmparser::BinaryReaderError> for NotMerged {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self(error.to_string())
    }
}
