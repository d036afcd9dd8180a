//! Python and JavaScript strategies: the SDK's own tools make the component, with the interpreter
//! inside and already started. Here they are found, and told what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use indexmap::IndexMap;

use super::build_error::BuildError;
use super::merge::merge;
use super::sdk;

/// The WIT of this host, which strategies are built against.
const WIT: [(&str, &str); 4] = [
    ("log.wit", include_str!("../../../wit/log.wit")),
    ("models.wit", include_str!("../../../wit/models.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("world.wit", include_str!("../../../wit/world.wit")),
];

/// The exit status of the SDK's `draft` where a build is needed.
const NO_DRAFT: i32 = 3;

/// A language whose SDK has a build of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptedLanguage {
    Python,
    JavaScript,
}

impl ScriptedLanguage {
    /// By the source that is there; none of a Rust crate.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let has = |file: &str| dir.join(file).exists();
        match () {
            () if has("strategy.py") => Some(Self::Python),
            () if has("strategy.js") || has("strategy.ts") => Some(Self::JavaScript),
            () => None,
        }
    }

    /// The SDK's folder below that of all SDKs.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// The interpreter's oldest version that will do, and how to get one.
    fn needed(self) -> ([u32; 2], &'static str) {
        match self {
            Self::Python => (
                [3, 11],
                "Python 3.11 or later, from https://python.org or on Debian: apt-get install python3 python3-venv",
            ),
            Self::JavaScript => {
                ([20, 0], "Node 20 or later, from https://nodejs.org or on Debian: apt-get install nodejs npm")
            }
        }
    }

    /// The interpreter: of the project's own environment, of the one that is active, of the one that
    /// `make setup` makes beside the SDK, or the system's. Somebody who trains a model beside the strategy
    /// has that one's environment active.
    fn interpreter(self, dir: &Path, sdk: Option<&Path>) -> PathBuf {
        if self == Self::JavaScript {
            return "node".into();
        }
        let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
        let made = target(sdk).map(|target| target.join("python-venv"));
        let environments = [Some(dir.join(".venv")), active, made];
        let mut pythons = environments.into_iter().flatten().map(|environment| environment.join("bin/python"));
        pythons.find(|python| python.exists()).unwrap_or_else(|| "python3".into())
    }

    /// The SDK's command line, after a look at the interpreter's version.
    fn command(self, dir: &Path) -> Result<Command, BuildError> {
        let sdk = sdk::find(self.folder(), dir);
        let interpreter = self.interpreter(dir, sdk.as_deref());
        self.check_version(&interpreter)?;
        let mut command = Command::new(interpreter);
        command.stdin(Stdio::null());
        match (self, sdk) {
            (Self::Python, sdk) => {
                // Not from the author's folder, where a file may have the name of one of the library's modules.
                command.args(["-P", "-m", "serin_guest"]);
                // Else the one that is installed.
                if let Some(sdk) = sdk {
                    command.env("PYTHONPATH", sdk);
                }
            }
            (Self::JavaScript, Some(sdk)) => {
                command.arg(sdk.join("bin/serin-guest.js"));
                let packages = target(Some(&sdk)).map(|target| target.join("node")).filter(|node| node.is_dir());
                if let (None, Some(packages)) = (std::env::var_os("SERIN_NODE"), packages) {
                    command.env("SERIN_NODE", packages);
                }
            }
            (Self::JavaScript, None) => return Err(BuildError::Missing(sdk::missing(self.folder()))),
        }
        Ok(command)
    }

    fn check_version(self, interpreter: &Path) -> Result<(), BuildError> {
        let (oldest, needed) = self.needed();
        let bad = |why: String| BuildError::Missing(format!("{}: {why}; needed is {needed}", interpreter.display()));
        let output = Command::new(interpreter).arg("--version").output().map_err(|e| bad(e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let numbers = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u32> = numbers.split('.').map_while(|part| part.parse().ok()).collect();
        match numbers.get(..2) {
            Some(version) if *version >= oldest[..] => Ok(()),
            _ if !output.status.success() => Err(bad(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            _ => Err(bad(format!("it is {text}"))),
        }
    }

    /// What the command prints on standard output.
    fn run(self, dir: &Path, command: &mut Command) -> Result<String, BuildError> {
        let (_, needed) = self.needed();
        // What is built is what is printed on standard output, and nothing else.
        let output = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|e| BuildError::Missing(format!("{e}; needed is {needed}")))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        eprint!("{printed}");
        Err(BuildError::Tool {
            tool: self.folder(),
            dir: dir.to_owned(),
            status: output.status.code(),
            why: format!("{}; what it said is above", output.status),
        })
    }

    /// Writes the typed names of `plugin.toml` beside it.
    pub(super) fn generate(self, dir: &Path) -> Result<(), BuildError> {
        self.run(dir, self.command(dir)?.arg("generate").arg(dir)).map(drop)
    }

    /// Checks the source's types, and says of which files.
    pub(super) fn check(self, dir: &Path) -> Result<(), BuildError> {
        match self.run(dir, self.command(dir)?.arg("check").arg(dir)) {
            Ok(printed) => print!("{printed}"),
            Err(BuildError::Tool { .. }) => return Err(BuildError::Types { dir: dir.to_owned() }),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// The bare component of the strategy in `dir`. What the tool says goes to standard error, in
    /// the author's own file and line.
    pub(super) fn component(self, dir: &Path) -> Result<Vec<u8>, BuildError> {
        let (component, _) = self.written(dir, "build", |_| {})?;
        Ok(merged(component))
    }

    /// The files of the strategy in `dir` for a component that has its interpreter already, which the SDK keeps in
    /// `cache`; none where only a build will do.
    pub(super) fn draft(self, dir: &Path, cache: &Path) -> Result<Option<DraftFiles>, BuildError> {
        let in_cache = |command: &mut Command| {
            command.arg("--cache").arg(cache);
        };
        let (text, printed) = match self.written(dir, "draft", in_cache) {
            Err(BuildError::Tool { status: Some(NO_DRAFT), .. }) => return Ok(None),
            written => written?,
        };
        let bad = |why: serde_json::Error| BuildError::Missing(format!("the SDK in Python writes other files: {why}"));
        let files: IndexMap<String, Option<String>> = serde_json::from_slice(&text).map_err(bad)?;
        let text = |(path, text): (String, Option<String>)| text.map_or(path.clone(), |text| format!("{path}\n{text}"));
        let texts = files.into_iter().map(text).chain([String::new()]).collect();
        Ok(Some(DraftFiles { base: printed.trim_end().into(), texts }))
    }

    /// Runs the SDK's command `name` on the strategy in `dir`: the file that it writes, and what it prints.
    fn written(self, dir: &Path, name: &str, more: impl FnOnce(&mut Command)) -> Result<(Vec<u8>, String), BuildError> {
        let part = |what: &str| dir.join("dist").join(format!(".{what}.{}.partial", std::process::id()));
        let (wit, out) = (part("wit"), part(name));
        std::fs::create_dir_all(&wit).map_err(BuildError::file(&wit))?;
        for (name, text) in WIT {
            let path = wit.join(name);
            std::fs::write(&path, text).map_err(BuildError::file(&path))?;
        }
        let written = self
            .command(dir)
            .and_then(|mut command| {
                more(command.arg(name).arg(dir).arg("--wit").arg(&wit).arg("--out").arg(&out));
                self.run(dir, &mut command)
            })
            .and_then(|printed| Ok((std::fs::read(&out).map_err(BuildError::file(&out))?, printed)));
        // Where one is not there, what went wrong has been said.
        let _ = (std::fs::remove_dir_all(&wit), std::fs::remove_file(&out));
        written
    }
}

/// A strategy's files, and the component that they are loaded into.
pub(super) struct DraftFiles {
    /// The component's path.
    pub base: PathBuf,
    /// A text for each of them, and an empty one at the end, which has the strategy loaded.
    pub texts: Vec<String>,
}

/// The component with its core modules merged; as it is where the linker does not know its shape, or has a defect.
pub(super) fn merged(component: Vec<u8>) -> Vec<u8> {
    let tried = serin_core::caught(|| {
        serin_core::meet_defect(&component);
        merge(&component).map_err(|why| why.to_string())
    });
    tried.unwrap_or_else(|why| {
        eprintln!("note: the modules of this component are not merged, so each decision takes longer: {why}");
        component
    })
}

/// Where `make setup` puts what it installs: cargo's target folder of the SDK's repository.
fn target(sdk: Option<&Path>) -> Option<PathBuf> {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.or_else(|| sdk?.join("../../target").canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_merged_is_the_artifact_as_it_is_and_so_is_what_the_linker_panics_at() {
        let whole = wat::parse_str("(component (@custom \"a\" \"b\"))").expect("a component");
        let defect = format!("(component (@custom \"a\" \"{}\"))", serin_core::DEFECT);
        let defect = wat::parse_str(defect).expect("a component");
        for component in [whole.clone(), whole[..10].to_vec(), Vec::new(), defect] {
            assert_eq!(merged(component.clone()), component);
        }
    }
}
