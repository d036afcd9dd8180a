//! `serin features load`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serin_core::numbers::counted;

use super::{Outcome, progress};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::features::{EmbeddedStore, LoadOptions, Progress, load_file};

#[derive(Subcommand)]
pub(super) enum FeaturesCommand {
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

/// Carries out a command.
pub(super) fn run(command: FeaturesCommand) -> Outcome {
    let FeaturesCommand::Load { view, file, null, config } = command;
    load(&view, &file, &config, null)
}

fn load(view: &str, file: &Path, config: &Path, null: Vec<String>) -> Outcome {
    let config = Config::load(config)?;
    let Some(spec) = config.views.get(view) else {
        let mut known: Vec<&str> = config.views.keys().map(|v| &**v).collect();
        known.sort_unstable();
        return Err(format!("feature view '{view}' is not declared; declared: {}", known.join(", ")).into());
    };
    let data = config.fixed.data_dir();
    crate::files::create_private_dir(&data)?;
    let store = EmbeddedStore::open(&data.join("features.db"))?;
    let bar = progress(None, "rows");
    let options = LoadOptions { now_ms: SystemClock.now_ms(), null };
    let loaded = load_file(&store, spec, file, &options, |progress| match progress {
        Progress::Checked(rows) => bar.set_position(rows),
        Progress::Taken(rows, of) => {
            bar.set_length(of);
            bar.set_position(rows);
        }
    })?;
    bar.finish_and_clear();
    for warning in &loaded.warnings {
        eprintln!("warning: {}", serin_core::inert_line(warning));
    }
    if !loaded.without.is_empty() {
        let without: Vec<&str> = loaded.without.iter().map(|column| &**column).collect();
        eprintln!("note: the file has no column {}; what is known there stays as it is", without.join(", "));
    }
    if loaded.rows.written + loaded.rows.older == 0 {
        eprintln!("warning: {}: no rows in it", crate::files::shown(file));
    }
    println!("{view}: {} written, {} older than what is there", counted(loaded.rows.written, "row"), loaded.rows.older);
    Ok(true)
}
