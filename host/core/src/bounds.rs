//! Size limits of a manifest's texts and lists, and of an artifact's cases. Their content ends up
//! in every answer and record, so all of it is bounded.

use crate::printable;

/// Bytes of a `plugin.toml`.
pub const MANIFEST_BYTES: usize = 256 << 10;
/// Bytes of a version of a plugin or model.
pub const VERSION_BYTES: usize = 64;
/// Bytes of a description.
pub const DESCRIPTION_BYTES: usize = 4 << 10;
/// Bytes of an owner's name.
pub const OWNER_BYTES: usize = 256;
/// Bytes of a reason's text, which every answer repeats.
pub const REASON_BYTES: usize = 1 << 10;
/// Bytes of a default text, of a parameter or of a missing feature.
pub const VALUE_BYTES: usize = 4 << 10;
/// Actions, and reasons, of a manifest.
pub const CODES: usize = 256;
/// Parameters of one action.
pub const ACTION_PARAMETERS: usize = 32;
/// Features.
pub const FEATURES: usize = 1024;
/// Models.
pub const MODELS: usize = 64;
/// Parameters of a plugin.
pub const PARAMETERS: usize = 128;
/// Bytes of all cases of an artifact.
pub const CASES_BYTES: usize = 4 << 20;
/// Bytes of a case's name.
pub const CASE_NAME_BYTES: usize = 200;
/// Characters of a message about a file.
pub const MESSAGE: usize = 1000;

/// Checks a count.
///
/// # Errors
/// The count, and the most that is valid.
pub fn count(what: &str, found: usize, most: usize) -> Result<(), String> {
    if found <= most { Ok(()) } else { Err(format!("{found} {what}; valid: at most {most}")) }
}

/// Checks the length of a text.
///
/// # Errors
/// The length, and the most that is valid.
pub fn text(key: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() <= most {
        return Ok(());
    }
    Err(format!("{}: {} bytes of text; valid: at most {most}", printable(key), text.len()))
}

/// Parses a version of a plugin or model.
///
/// # Errors
/// What is wrong with it, and what would be valid.
pub fn version(version: &str) -> Result<semver::Version, String> {
    text("version", version, VERSION_BYTES)?;
    semver::Version::parse(version)
        .map_err(|e| format!("version = \"{}\": {e}; valid: MAJOR.MINOR.PATCH, like 1.0.0", printable(version)))
}
