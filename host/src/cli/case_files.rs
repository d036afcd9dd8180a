//! The files of a project's cases.

use std::path::{Path, PathBuf};

use serin_core::case::Case;
use serin_core::manifest::Manifest;

use super::build_error::BuildError;
use crate::files;
use crate::registry::{check_case, files_in};

/// A case and its file.
pub(super) struct CaseFile {
    pub path: PathBuf,
    pub text: String,
    pub case: Case,
}

/// All of `dir/cases/*.json`, in the order of their names.
///
/// # Errors
/// The first mistake, with its file, and its line where the text has one.
pub(super) fn read(dir: &Path, manifest: &Manifest) -> Result<Vec<CaseFile>, BuildError> {
    let folder = dir.join("cases");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let paths = files_in(&folder, "json").map_err(|e| BuildError::file(&folder)(e))?;
    let mut cases: Vec<CaseFile> = Vec::with_capacity(paths.len());
    for path in paths {
        let file = one(path, manifest)?;
        if let Some(other) = cases.iter().find(|other| other.case.name == file.case.name) {
            let (name, other) = (serin_core::printable(&file.case.name), files::shown_name(&other.path));
            let why = format!("name: '{name}' is the name of {other}, too; valid: a name of its own");
            return Err(BuildError::Case { path: file.path, why });
        }
        cases.push(file);
    }
    Ok(cases)
}

fn one(path: PathBuf, manifest: &Manifest) -> Result<CaseFile, BuildError> {
    let text = files::read_text(&path, files::MAX_TEXT_BYTES).map_err(BuildError::file(&path))?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let case = serde_path_to_error::deserialize(&mut json)
        .map_err(|e| e.to_string())
        .and_then(|case: Case| json.end().map(|()| case).map_err(|e| e.to_string()))
        .and_then(|case| check_case(&case, manifest).map(|()| case));
    match case {
        Ok(case) => Ok(CaseFile { path, text, case }),
        Err(why) => Err(BuildError::Case { path, why }),
    }
}
