//! `serin serve`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::output::try_print;
use super::{LogFormat, Outcome, ServeArgs, dev};
use crate::app::{Host, Looks, Options};
use crate::clock::SystemClock;
use crate::sandbox::STACK_BYTES;

pub(super) fn run(args: ServeArgs) -> Outcome {
    start_logging(&args.log, args.log_format)?;
    args.source.iter().try_for_each(|source| dev::is_project(source))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()?;
    runtime.block_on(async {
        let _file_sizes = outlive_file_size_limits()?;
        // From the start: who reads the line below may send one at once, whose default action ends the process.
        let mut signals = StopSignals::new()?;
        let (looks, dev) = (Looks::EverySecond, args.dev);
        let options = Options { config: args.config, listen: args.listen, admin: args.admin, dev, looks };
        let host = Host::start(options, Arc::new(SystemClock)).await?;
        // Scripts wait for this line; it names the ports where 0 was asked for.
        let scheme = host.scheme;
        let line = format!("serin listens on {scheme}://{}, admin on {scheme}://{}", host.listen, host.admin);
        // It serves whether anybody reads that or not.
        if let Err(error) = try_print(format_args!("{line}\n")) {
            tracing::warn!(%error, "{line}: standard output cannot be written");
        }
        for unready in host.reloader.deployment.load().unready() {
            tracing::warn!("{unready}; until it is loaded, the fallback action serves");
        }
        for source in args.source {
            let (reloader, ledger) = (Arc::downgrade(&host.reloader), host.ledger());
            dev::watch(source, dev::Served { reloader, ledger, plugins: host.plugins() })?;
        }
        let signal = signals.next().await;
        let stopping = async {
            // A person at a terminal waits for the end; a supervisor has balancers to tell first.
            if signal == Signal::Terminate {
                tracing::info!("not ready any more: stopping after server.shutdown_delay");
                host.leave().await;
            }
            tracing::info!("stopping: accepted requests are answered first");
            host.stop().await;
        };
        tokio::select! {
            () = stopping => {}
            _ = signals.next() => {
                tracing::warn!("a second signal: stopping at once");
            }
        }
        Ok(true)
    })
}

fn start_logging(filter: &str, format: LogFormat) -> Result<(), Box<dyn std::error::Error>> {
    let filter =
        EnvFilter::try_new(filter).map_err(|e| format!("--log {filter}: {e}; valid: info, debug, serin=debug"))?;
    // Stages are spans below the request's: their ends tell how long each took. Only where
    // somebody looks that closely; at the default level a request leaves no line.
    let is_close = filter.max_level_hint() >= Some(LevelFilter::DEBUG);
    let ends = if is_close { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(ends)
        // Its report of a line that could not be written goes to standard error as well, and a failure
        // there is a panic of the thread that logs: on a full disk, of the ledger's writer.
        .log_internal_errors(false)
        // Colours are for a terminal; in a file they are noise.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => logs.with_target(false).init(),
        LogFormat::Json => logs.json().with_current_span(true).init(),
    }
    Ok(())
}

/// Makes a write beyond a file-size limit (`ulimit -f`) that write's error, until the result is dropped: the
/// signal's default action ends the process.
fn outlive_file_size_limits() -> std::io::Result<tokio::signal::unix::Signal> {
    /// SIGXFSZ has this number on Linux, macOS and the BSDs, except on Linux for MIPS.
    const XFSZ: i32 = 25;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(XFSZ))
}

/// What asked the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The signals that ask the program to stop. None is lost once this is made.
pub(super) struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Takes them over, on a runtime.
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
