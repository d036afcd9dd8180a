//! Why a component stays as it is.

/// The part of the component that the linker does not support.
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
