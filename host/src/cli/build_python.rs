//! `serin plugin build` for Python: the SDK's own build makes the component, with the interpreter
//! inside and already started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::BuildError;
use super::project::sdks;

/// The Python that has componentize-py: a virtual environment that is active, or the system's.
fn python() -> PathBuf {
    let of_environment = std::env::var_os("VIRTUAL_ENV").map(|dir| PathBuf::from(dir).join("bin/python"));
    of_environment.filter(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

/// The bare component of the strategy in `dir`. What Python says goes to standard error, in the
/// author's own file and line.
pub(super) fn component(dir: &Path) -> Result<Vec<u8>, BuildError> {
    let failed = |why: String| BuildError::Tool { tool: "python", dir: dir.to_owned(), why };
    let sdk = sdks().map(|sdks| sdks.join("python")).filter(|sdk| sdk.is_dir());
    let sdk = sdk.ok_or_else(|| failed("no folder 'guest-sdk/python' here or above".to_owned()))?;
    let wit = sdk.join("../../wit");
    let out = dir.join("dist").join(format!(".component.{}.partial", std::process::id()));
    std::fs::create_dir_all(dir.join("dist")).map_err(BuildError::file(dir))?;
    let python = python();
    let status = Command::new(&python)
        .args(["-m", "serin_guest", "build"])
        .arg(dir)
        .arg("--wit")
        .arg(&wit)
        .arg("--out")
        .arg(&out)
        .env("PYTHONPATH", &sdk)
        .stdin(Stdio::null())
        // What is built is what is printed on standard output, and nothing else.
        .stdout(Stdio::null())
        .status()
        .map_err(|e| failed(format!("{}: {e}; Python 3.11 or later is needed", python.display())))?;
    let bytes = std::fs::read(&out);
    // Where it is not there, reading it has said so.
    let _ = std::fs::remove_file(&out);
    match status.success() {
        true => bytes.map_err(BuildError::file(&out)),
        false => Err(failed(format!("{status}; what it said is above"))),
    }
}
