//! The options of `serin plugin`.

use std::path::PathBuf;

use clap::Subcommand;

use super::credential::CredentialArgs;
use super::{Format, project};

/// Commands on plugins.
#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Build DIR/plugin.toml and its source into DIR/dist/NAME-VERSION.wasm
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Print the compiler's warnings and errors only
        #[arg(long)]
        quiet: bool,
        /// Of Python: a draft, which is there sooner, as DIR/dist/.draft/NAME-VERSION.wasm, which decides alike, takes more time and
        /// memory, and is served with --dev alone
        #[arg(long)]
        draft: bool,
    },
    /// Make a project of a strategy that builds, tests and runs as it is
    New {
        /// The strategy's name; the folder's, too
        name: PathBuf,
        /// The language
        #[arg(long, value_enum)]
        lang: project::Language,
        /// The folder of Serin's SDKs, where it is not found beside this program or above this folder
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
        /// The decision point, for a strategy of any domain; without this and --actions it is a lender's
        #[arg(long, value_name = "NAME")]
        decision_point: Option<String>,
        /// Its actions, the most careful first
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        actions: Vec<String>,
    },
    /// Build, then run DIR/cases/*.json in the host's own sandbox
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Write what came into the cases' expectations
        #[arg(long)]
        update: bool,
        /// With --update, also write that a case fails, and how
        #[arg(long, requires = "update")]
        accept_failures: bool,
        /// Build and test again whenever a file is saved
        #[arg(long, conflicts_with = "update")]
        watch: bool,
        /// Write the results for a CI server, as JUnit XML
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Cut a case from a recorded decision
    Case {
        /// The decision's id
        #[arg(long, value_name = "ID")]
        from_decision: String,
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// The admin listener
        #[arg(
            long,
            value_name = "URL",
            env = "SERIN_ADMIN",
            hide_env_values = true,
            default_value = "http://127.0.0.1:8081"
        )]
        admin: String,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Measure time and memory a decision, over the cases
    Bench {
        /// An artifact, or a plugin's folder whose artifact was built
        path: PathBuf,
        /// Another artifact to compare with, on the same cases
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Runs of each case
        #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
        runs: u32,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Make a pair of keys that sign and verify, in minisign's format
    Keygen {
        /// The secret key's file; the public one is beside it, as FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Ask for a password, without which the secret key cannot be used
        #[arg(long)]
        password: bool,
    },
    /// Sign an artifact or a model: writes FILE.minisig beside it; of a model, its golden file is signed as well
    Sign {
        /// An artifact (.wasm) or a model (.onnx)
        file: PathBuf,
        /// The secret key; one with a password asks for it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What is signed with the file and shown wherever the signer is; the time and the file's name if left out
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// Verify the signature beside an artifact or a model; of a model, that of its golden file as well
    Verify {
        /// An artifact (.wasm) or a model (.onnx)
        file: PathBuf,
        /// The public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Put an artifact into an OCI registry, with the signature that is beside it
    Push {
        /// An artifact, or a plugin's folder whose artifact was built
        path: PathBuf,
        /// HOST/REPOSITORY:TAG
        reference: String,
        /// Compress it with zstd, as application/wasm+zstd: only 'serin plugin pull' reads that, not wkg or wasmtime
        #[arg(long)]
        compress: bool,
        /// Push nothing unless the signature beside it is of it, by this public key
        #[arg(long, value_name = "PUB")]
        verify: Option<PathBuf>,
        /// Without TLS; on this machine that is so anyway
        #[arg(long)]
        plain_http: bool,
    },
    /// Get an artifact from an OCI registry into a plugins folder, and pin it in its plugins.lock
    Pull {
        /// HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…; all that plugins.lock names, where left out
        reference: Option<String>,
        /// The plugins folder
        #[arg(long, value_name = "DIR", default_value = "plugins")]
        into: PathBuf,
        /// Take over a version whose digest has changed
        #[arg(long)]
        update: bool,
        /// Write nothing that has no signature by this public key; without it, the newest signature is taken
        #[arg(long, value_name = "PUB")]
        verify: Option<PathBuf>,
        /// Without TLS; on this machine that is so anyway
        #[arg(long)]
        plain_http: bool,
    },
    /// Say what the host would say on loading an artifact: imports, manifest, cases
    Check {
        /// An artifact, or a plugin's folder whose artifact was built
        path: PathBuf,
        /// Also say what has changed since this version of the plugin, and whether what refers to it still means the same
        #[arg(long, value_name = "OLD.wasm")]
        against: Option<PathBuf>,
        /// How to print what has changed
        #[arg(long, value_enum, default_value_t, requires = "against")]
        format: Format,
    },
    /// Show an artifact's manifest, digest, WIT version and size
    Inspect {
        /// An artifact
        file: PathBuf,
        /// The public key to verify the signature beside it by
        #[arg(long, value_name = "PUB")]
        key: Option<PathBuf>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}
