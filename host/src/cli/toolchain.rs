//! Finds a Rust compiler for `wasm32-unknown-unknown`.
//!
//! rustup's target where it is installed. Where it can't be downloaded, Debian's packages do
//! the same from the standard library's source; they lack only the linker, which any
//! rustup toolchain has.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of every Rust strategy: no operating system, hence no import.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Where no compiler for the target is.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Nothing at all, or no `cargo`.
    #[error(
        "no Rust compiler for {TARGET} ({0}); install rustup and run `rustup target add {TARGET}`, or where that target \
         can't be downloaded, on Debian as root: `apt-get install --no-install-recommends rustc-web cargo-web rust-web-src`"
    )]
    Missing(String),
    /// Debian's compiler is there, and no linker.
    #[error("Debian's Rust compiler is installed, but {TARGET} needs rustup's linker, and there is no {}; install rustup", .0.display())]
    NoLinker(PathBuf),
}

/// A compiler that can build strategies.
#[derive(Debug)]
pub struct Toolchain {
    /// Where its standard library lies.
    pub sysroot: PathBuf,
    debian_linker: Option<PathBuf>,
}

impl Toolchain {
    /// Looks for one, as `cargo` would from within `dir`.
    ///
    /// # Errors
    /// What to install.
    pub fn find(dir: &Path) -> Result<Self, ToolchainError> {
        let rustup = PathBuf::from(print(Command::new("rustc").current_dir(dir), &["--print", "sysroot"])?);
        let libraries =
            print(Command::new("rustc").current_dir(dir), &["--print", "target-libdir", "--target", TARGET])?;
        if Path::new(&libraries).is_dir() {
            return Ok(Self { sysroot: rustup, debian_linker: None });
        }
        let needed = ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/Cargo.toml"];
        if let Some(absent) = needed.into_iter().find(|file| !Path::new(file).exists()) {
            return Err(ToolchainError::Missing(format!("neither {libraries} nor {absent} exists")));
        }
        let host = print(Command::new("rustc").current_dir(dir), &["--print", "host-tuple"])?;
        let linker = rustup.join("lib/rustlib").join(host).join("bin/rust-lld");
        if !linker.exists() {
            return Err(ToolchainError::NoLinker(linker));
        }
        Ok(Self { sysroot: "/usr".into(), debian_linker: Some(linker) })
    }

    /// `cargo build` for the target, to be completed by the caller.
    pub fn cargo_build(&self) -> Command {
        let mut cargo = match &self.debian_linker {
            None => Command::new("cargo"),
            Some(linker) => {
                let mut cargo = Command::new("/usr/bin/cargo");
                cargo
                    // Else rustup's rustc would come first, and know nothing of Debian's source.
                    .env("PATH", "/usr/bin:/bin")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .env_remove("RUSTC")
                    .env_remove("CARGO");
                cargo
            }
        };
        cargo.args(["build", "--release", "--target", TARGET]);
        if self.debian_linker.is_some() {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

fn print(command: &mut Command, arguments: &[&str]) -> Result<String, ToolchainError> {
    let output = command.args(arguments).output().map_err(|e| ToolchainError::Missing(format!("rustc: {e}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(ToolchainError::Missing(text.lines().next().unwrap_or("rustc failed").to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
