//! The command line.

// First: its macros are those of all commands.
#[macro_use]
mod output;

mod audit;
mod backup;
mod build;
mod build_error;
mod build_scripted;
mod caches;
mod case_files;
mod case_report;
mod check;
mod client;
mod client_tls;
mod clock;
mod credential;
mod demo;
mod dev;
mod draft;
mod experiment;
mod features;
mod general;
mod init;
mod merge;
mod models;
mod oci;
mod oci_registry;
mod outcomes;
mod plan;
mod plugin;
mod plugin_bench;
mod plugin_changes;
mod plugin_command;
mod plugin_test;
mod plugin_warnings;
mod plugins_lock;
mod progress;
mod project;
mod registry_credentials;
mod replay;
mod report;
mod rows;
mod sdk;
mod serve;
mod signing;
mod sources;
mod status;
mod toolchain;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use client::Client;
use credential::CredentialArgs;
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
    /// Make a deployment that checks and serves, with a strategy to begin with
    Init(init::InitArgs),
    /// Validate every file of a deployment as `serve` would, starting nothing
    Check {
        /// The deployment's serin.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How to print what was found
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say what a running host thinks: who serves, what waits, what was not applied and why
    Status(AdminArgs),
    /// Build and look at plugins
    #[command(subcommand)]
    Plugin(plugin_command::PluginCommand),
    /// Look at the experiments of a running host, and change their course
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Stop every ramp of a running host where it is
    Freeze(WhyArgs),
    /// Say that a running host's clock can be believed
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    /// Say who did what on a running host
    Audit(audit::AuditArgs),
    /// Make tokens, by which a host knows who asks
    #[command(subcommand)]
    Token(credential::TokenCommand),
    /// Say what an experiment has shown, and what follows
    Report(ReportArgs),
    /// Run recorded decisions again
    Replay(ReplayArgs),
    /// Write the ledger, the features and the archive to one file; the host may be running
    Backup(backup::BackupArgs),
    /// Restore a stopped host from a file that `backup` has written
    Restore(backup::RestoreArgs),
    /// Load features
    #[command(subcommand)]
    Features(features::FeaturesCommand),
    /// Make a model ready to be served
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Load outcomes, and say up to when they are complete
    #[command(subcommand)]
    Outcomes(outcomes::OutcomesCommand),
    /// Play the demo: a lender's outreach, from the first decision to a replay
    Demo(DemoArgs),
    /// Print the OpenAPI document of the public listener, or of the admin listener
    Openapi {
        /// That of the admin listener
        #[arg(long)]
        admin: bool,
    },
}

#[derive(Args)]
struct ServeArgs {
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here instead of at server.listen
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Serve the admin listener here instead of at server.admin
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
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
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = plan::positive)]
    effect: Option<f64>,
    /// New units a day, in the whole layer; in place of what the ledger says
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = plan::positive)]
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
    /// Who; it is recorded. Where the host asks for a credential, whom that names is recorded instead
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "cli")]
    by: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args)]
struct AdminArgs {
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
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl AdminArgs {
    fn client(&self) -> Result<Client, String> {
        self.credential.client(&self.admin)
    }
}

#[derive(Args)]
struct ReplayArgs {
    /// The deployment's serin.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only decisions made at this time or later: RFC 3339, how long ago, like 1h, or milliseconds since 1970
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
    /// The serin.toml of a stopped host: its ledger is read, and no host is asked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Of an experiment that has ended: as of now, with what has changed since its end
    #[arg(long)]
    recompute: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

#[derive(Args)]
struct DemoArgs {
    /// Play the scenario to its end, print a summary, and exit
    #[arg(long)]
    once: bool,
    /// Where the demo's host listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// Where its admin listener is
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8081", value_parser = address)]
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

/// A value of an answer as a terminal may have it, on one line.
fn text(value: &serde_json::Value) -> String {
    serin_core::inert_line(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A message of the host, whose further lines are set under its first: none of them reads as a line of its own.
fn message(text: &str, indent: usize) -> String {
    serin_core::inert(text).replace('\n', &format!("\n{:indent$}", ""))
}

/// Reads where to listen.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "valid: IP:PORT, like 127.0.0.1:8080, or [::1]:8080".to_owned())
}

/// What a command comes to: done, or that what was checked failed.
type Outcome = Result<bool, Box<dyn std::error::Error>>;

/// Runs the program. 0: done; 1: what was checked failed; 2: wrong usage.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    match output::whole(|| run(command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("serin: {}", serin_core::inert(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Init(args) => init::run(args),
        Command::Check { config, format } => check::run(&config, format),
        Command::Status(args) => status::run(&args),
        Command::Plugin(command) => plugin::run(command),
        Command::Experiment(command) => experiment::run(command),
        Command::Freeze(why) => experiment::freeze(&why),
        Command::Clock(command) => clock::run(command),
        Command::Audit(args) => audit::run(&args),
        Command::Token(command) => credential::run(command),
        Command::Report(args) => report::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Features(command) => features::run(command),
        Command::Models(command) => models::run(command),
        Command::Outcomes(command) => outcomes::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Openapi { admin } => openapi(admin),
    }
}

fn openapi(admin: bool) -> Outcome {
    let document = if admin { crate::http::admin_document() } else { crate::http::document() };
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(true)
}
