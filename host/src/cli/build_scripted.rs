//! `serin plugin build` for Python and JavaScript: the SDK's own build makes the component, with
//! the interpreter inside and already started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::BuildError;
use super::project::sdks;

/// A language whose SDK has a build of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripted {
    Python,
    JavaScript,
}

impl Scripted {
    /// By the source that is there; none of a Rust crate.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let has = |file: &str| dir.join(file).exists();
        match () {
            () if has("strategy.py") => Some(Self::Python),
            () if has("strategy.js") || has("strategy.ts") => Some(Self::JavaScript),
            () => None,
        }
    }

    /// The SDK's folder, and the tool's name.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => ("python", "Python 3.11 or later"),
            Self::JavaScript => ("javascript", "Node 20 or later"),
        }
    }

    fn command(self, sdk: &Path) -> Command {
        match self {
            Self::Python => {
                // The one that has componentize-py: a virtual environment that is active, or the
                // system's.
                let active = std::env::var_os("VIRTUAL_ENV").map(|dir| PathBuf::from(dir).join("bin/python"));
                let python = active.filter(|python| python.exists()).unwrap_or_else(|| "python3".into());
                let mut command = Command::new(python);
                command.args(["-m", "serin_guest"]).env("PYTHONPATH", sdk);
                command
            }
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.arg(sdk.join("bin/serin-guest.js"));
                command
            }
        }
    }
}

/// The bare component of the strategy in `dir`. What the tool says goes to standard error, in the
/// author's own file and line.
pub(super) fn component(language: Scripted, dir: &Path) -> Result<Vec<u8>, BuildError> {
    let (folder, tool) = language.names();
    let failed = |why: String| BuildError::Tool { tool: folder, dir: dir.to_owned(), why };
    let sdk = sdks().map(|sdks| sdks.join(folder)).filter(|sdk| sdk.is_dir());
    let sdk = sdk.ok_or_else(|| failed(format!("no folder 'guest-sdk/{folder}' here or above")))?;
    let out = dir.join("dist").join(format!(".component.{}.partial", std::process::id()));
    std::fs::create_dir_all(dir.join("dist")).map_err(BuildError::file(dir))?;
    let status = language
        .command(&sdk)
        .arg("build")
        .arg(dir)
        .arg("--wit")
        .arg(sdk.join("../../wit"))
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::null())
        // What is built is what is printed on standard output, and nothing else.
        .stdout(Stdio::null())
        .status()
        .map_err(|e| failed(format!("{e}; {tool} is needed")))?;
    let bytes = std::fs::read(&out);
    // Where it is not there, reading it has said so.
    let _ = std::fs::remove_file(&out);
    match status.success() {
        true => bytes.map_err(BuildError::file(&out)),
        false => Err(failed(format!("{status}; what it said is above"))),
    }
}
