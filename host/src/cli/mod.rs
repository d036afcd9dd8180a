//! The command line.

mod build;
mod build_error;
mod build_scripted;
mod caches;
mod check;
mod client;
mod clock;
mod demo;
mod dev;
mod experiment;
mod features;
mod models;
mod oci;
mod outcomes;
mod plan;
mod plugin;
mod plugin_bench;
mod plugin_test;
mod plugin_warnings;
mod progress;
mod project;
mod replay;
mod report;
mod rows;
mod sdk;
mod serve;
mod toolchain;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use progress::progress;

/// Decides by strategies compiled to WebAssembly, and routes traffic between their versions.
#[derive(Parser)]
#[command(name = "serin", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The command line as clap knows it, for tests and documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

#[derive(Subcommand)]
enum Command {
    /// Serve a deployment
    Serve(ServeArgs),
    /// Validate every file of a deployment as `serve` would, starting nothing
    Check {
        /// The deployment's serin.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How to print what was found
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Build and look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look at the experiments of a running host, and change their course
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Stop every ramp of a running host where it is
    Freeze(WhyArgs),
    /// Say that a running host's clock can be believed
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    /// Say what an experiment has shown, and what follows
    Report(ReportArgs),
    /// Run recorded decisions again
    Replay(ReplayArgs),
    /// Load features
    #[command(subcommand)]
    Features(FeaturesCommand),
    /// Make a model ready to be served
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Load outcomes, and say up to when they are complete
    #[command(subcommand)]
    Outcomes(outcomes::OutcomesCommand),
    /// Play the demo: a lender's outreach, from the first decision to a replay
    Demo(DemoArgs),
    /// Print the OpenAPI document of the public listener
    Openapi,
}

#[derive(Args)]
struct ServeArgs {
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here instead of at server.listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Serve the admin listener here instead of at server.admin
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Let another artifact take a version's place without a new version number
    #[arg(long)]
    dev: bool,
    /// Build a strategy's project whenever a file of it is saved, test it, and serve it at once
    #[arg(long, value_name = "DIR", requires = "dev")]
    source: Vec<PathBuf>,
    /// Which log lines to print, as in RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Build DIR/plugin.toml and its source into DIR/dist/NAME-VERSION.wasm
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Print the compiler's warnings and errors only
        #[arg(long)]
        quiet: bool,
    },
    /// Make a project of a strategy that builds, tests and runs as it is
    New {
        /// The strategy's name; the folder's, too
        name: String,
        /// The language
        #[arg(long, value_enum)]
        lang: project::Language,
        /// The folder of Serin's SDKs, where it is not found beside this program or above this folder
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Build, then run DIR/cases/*.json in the host's own sandbox
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Write what came into the cases' expectations
        #[arg(long)]
        update: bool,
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
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
        admin: String,
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
    /// Put an artifact into an OCI registry
    Push {
        /// An artifact, or a plugin's folder whose artifact was built
        path: PathBuf,
        /// HOST/REPOSITORY:TAG
        reference: String,
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
        /// Without TLS; on this machine that is so anyway
        #[arg(long)]
        plain_http: bool,
    },
    /// Say what the host would say on loading an artifact: imports, manifest, cases
    Check {
        /// An artifact, or a plugin's folder whose artifact was built
        path: PathBuf,
    },
    /// Show an artifact's manifest, digest, WIT version and size
    Inspect {
        /// An artifact
        file: PathBuf,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Subcommand)]
enum ExperimentCommand {
    /// List the experiments and their states
    List(AdminArgs),
    /// Show an experiment: its spec, its state and why
    Show {
        /// The experiment's id
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Begin an experiment whose file says start = "manual"
    Start(ChangeArgs),
    /// Go on to the ramp's next step
    Promote(ChangeArgs),
    /// Stop the ramp where it is; who is in stays in
    Pause(ChangeArgs),
    /// Let the ramp go on
    Resume(ChangeArgs),
    /// Agree to its spec as it is, where serin.toml asks for people's agreement
    Approve(ChangeArgs),
    /// Decide that its edited file is applied although it loosens what was declared at the first unit
    Amend(ChangeArgs),
    /// End it: every new decision is on the pinned strategy
    Abort(ChangeArgs),
    /// List whom it touched, with their decisions and what happened to them
    Affected {
        /// The experiment's id
        id: String,
        /// Only this arm's
        #[arg(long)]
        arm: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Say what it needs and what it can show, by simulating its spec: units, days, false alarms, power
    Plan(PlanArgs),
    /// End it with a winner; what is pinned is changed in serin.toml
    Conclude {
        /// The arm that won
        #[arg(long, value_name = "ARM")]
        winner: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Args)]
struct PlanArgs {
    /// The experiment's file; it need not be in a deployment yet
    file: PathBuf,
    /// A deployment whose ledger tells of traffic and baselines
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The effect worth knowing, in the goals' own unit and direction
    #[arg(long, value_name = "NUMBER")]
    effect: Option<f64>,
    /// New units a day, in the whole layer; in place of what the ledger says
    #[arg(long, value_name = "NUMBER")]
    units_per_day: Option<f64>,
    /// A metric's mean without the experiment, and its standard deviation where it is no share;
    /// `failures` for the share of units with a failure; in place of what the ledger says
    #[arg(long, value_name = "METRIC=MEAN[:SD]", value_parser = plan::baseline)]
    base: Vec<plan::Base>,
    /// Days that it may take
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=730))]
    days: u32,
    /// Experiments simulated of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Chooses the random numbers: the same one gives the same plan
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Args)]
struct ChangeArgs {
    /// The experiment's id
    id: String,
    /// Only if the status still has this generation, as `experiment show` prints it
    #[arg(long, value_name = "NUMBER")]
    generation: Option<u64>,
    #[command(flatten)]
    why: WhyArgs,
}

#[derive(Args)]
struct WhyArgs {
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who; it is recorded
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "cli")]
    by: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args)]
struct AdminArgs {
    /// The admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    admin: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Args)]
struct ReplayArgs {
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only decisions made at this time or later: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Only decisions made before this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only decisions of this decision point
    #[arg(long, value_name = "P")]
    point: Option<String>,
    /// Fail unless every decision comes again to the byte (exit status 1)
    #[arg(long)]
    verify: bool,
    /// Compile every artifact anew, from the archive, and trust no compiled code that is kept
    #[arg(long)]
    recompile: bool,
    /// Do not fail where no decision matches and nothing was verified
    #[arg(long, requires = "verify")]
    allow_empty: bool,
    /// Run this artifact on the recorded decisions, and show where it would have differed
    #[arg(long, value_name = "ARTIFACT", conflicts_with = "verify")]
    candidate: Option<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Args)]
struct ReportArgs {
    /// The experiment's id
    id: String,
    /// The admin listener of the host that runs it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", conflicts_with = "config")]
    admin: String,
    /// The serin.toml of a stopped host: its ledger is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Of an experiment that has ended: as of now, with what has changed since its end
    #[arg(long)]
    recompute: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

#[derive(Subcommand)]
enum FeaturesCommand {
    /// Load a file into a feature view; it is checked whole before any of it is written, and the host may be running
    Load {
        /// The feature view
        view: String,
        /// A CSV or Parquet file with the columns entity, event_time and any of the view's
        file: PathBuf,
        /// A text that stands for null, as an empty cell does; may be given several times
        #[arg(long, value_name = "TEXT")]
        null: Vec<String>,
        /// The deployment's serin.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Args)]
struct DemoArgs {
    /// Play the scenario to its end, print a summary, and exit
    #[arg(long)]
    once: bool,
    /// Where the demo's host listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where its admin listener is
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// One page that needs nothing else
    Html,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// What a command comes to: done, or that what was checked failed.
type Outcome = Result<bool, Box<dyn std::error::Error>>;

/// Runs the program. 0: done; 1: what was checked failed; 2: wrong usage.
pub fn main() -> ExitCode {
    end_quietly_with_the_reader();
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Check { config, format } => check::run(&config, format),
        Command::Plugin(command) => plugin::run(command),
        Command::Experiment(command) => experiment::run(command),
        Command::Freeze(why) => experiment::freeze(&why),
        Command::Clock(command) => clock::run(command),
        Command::Report(args) => report::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Features(FeaturesCommand::Load { view, file, null, config }) => {
            features::load(&view, &file, &config, null)
        }
        Command::Models(command) => models::run(command),
        Command::Outcomes(command) => outcomes::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Openapi => openapi(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("serin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads the output may have seen enough, as `head` has: that is no defect.
fn end_quietly_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_closed = |text: &str| text.starts_with("failed printing to stdout: Broken pipe");
        if panic.payload_as_str().is_some_and(is_closed) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

fn openapi() -> Outcome {
    println!("{}", serde_json::to_string_pretty(&crate::http::document())?);
    Ok(true)
}
